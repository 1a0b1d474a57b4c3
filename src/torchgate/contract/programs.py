"""Programs of the operating system that a command of ours asks, and waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class ProgramAnswer(msgspec.Struct, frozen=True):
    """How a program ended.

    Args:
        code: its exit code; 0 is success.
        output: what it printed, both streams.
    """

    code: int
    output: str


class Programs(Protocol):
    """Runs programs, without a window and without input."""

    def run(self, arguments: Sequence[str], timeout_s: float) -> ProgramAnswer:
        """Run one to its end.

        Args:
            arguments: the program's path first, or the bare name of a program that comes with the system.

        Raises:
            OSError: it can't be started.
            TimeoutError: it did not end in time, and was ended.
        """
        ...
