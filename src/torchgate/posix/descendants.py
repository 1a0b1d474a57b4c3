"""What a child has started and left behind in sessions of its own, found by a mark in the environment.

For machines without control groups, which do this better: a process that clears its environment is not found. Nothing
else stays with a process that has left parent, session and process group.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MARK = "TORCHGATE_WORKER"
"""The variable; its value is one child's alone."""

_PASSES = 50
"""Each ends all that there are; what was being started meanwhile is found by the next one."""


def new_mark() -> str:
    """A value that no other child has or had."""
    return secrets.token_hex(8)


def end_marked(mark: str) -> int:
    """End every process of this account with the mark; how many there were. Takes milliseconds: not for the loop."""
    ended = 0
    for _ in range(_PASSES):
        found = list(_marked(f"{MARK}={mark}".encode("ascii")))
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended += len(found)
        if not found:
            break
    return ended


def _marked(entry: bytes) -> Iterator[int]:
    """Those that live still: a zombie has no environment."""
    return (pid for pid in _all_pids() if entry in _environment(pid))


def _all_pids() -> list[int]:
    return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdecimal()]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended meanwhile, or is another account's
        return []
