"""What the commands print, where there is somebody to read it."""

from __future__ import annotations

import io
import sys


def say(line: str = "") -> None:
    """A line of the answer, to stdout; nothing happens where there is none, as under some process managers."""
    if sys.stdout is not None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def note(line: str = "") -> None:
    """A line beside the answer, to stderr."""
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def fail(sentence: str) -> int:
    """Say on stderr why not; the exit code for it."""
    note(f"torchgate: {sentence}")
    return 1


def use_safe_encoding() -> None:
    """Make printing never fail, on whatever code page a console has: what it lacks is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
