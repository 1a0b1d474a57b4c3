"""What `doctor` asks of the operating system itself; `posix` and `windows` each fill it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from torchgate.contract.diagnosis import Diagnosis


class PortHolder(msgspec.Struct, frozen=True):
    """Who listens on a port.

    Args:
        pid: 0 where the system does not say.
        program: its name, or empty.
    """

    pid: int
    program: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "a process that this account may not see"
        return f"process {self.pid}{f' ({self.program})' if self.program else ''}"


class Machine(Protocol):
    """Facts that no configuration tells. Every method answers in milliseconds or runs a program with a time limit."""

    def account(self) -> str:
        """As whom we run, for people: a name, with its SID or uid."""
        ...

    def writers(self, folder: Path) -> str:
        """Who else may change what lies in a folder, in words for a sentence, or empty.

        Raises:
            OSError: it can't be examined.
        """
        ...

    def swappers(self, folder: Path) -> tuple[str, ...]:
        """Who could put another folder in the place of one around this one; a sentence for each, with the remedy.

        Folders that are not there, or may not be looked at, are passed over.
        """
        ...

    def port_holders(self, port: int) -> tuple[PortHolder, ...]:
        """The processes that listen on a TCP port.

        Raises:
            OSError: the system does not say.
        """
        ...

    def reservations(self, port: int) -> str:
        """Why this account may not take a TCP port though nobody listens there, in words for a sentence, or empty.

        Raises:
            OSError: the system does not say.
        """
        ...

    def file_version(self, file: Path) -> str:
        """The version that a program file says of itself, or empty.

        Raises:
            OSError: it can't be read.
        """
        ...

    def registry_value(self, key: str, name: str) -> int | str | None:
        r"""A value below HKEY_LOCAL_MACHINE, e.g. of `SYSTEM\CurrentControlSet\Control\GraphicsDrivers`.

        Returns:
            None where there is none, or no registry.

        Raises:
            OSError: it can't be read.
        """
        ...

    def missing_libraries(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of some system libraries that can't be loaded."""
        ...

    def events(self, providers: Collection[str], within_s: float) -> tuple[str, ...]:
        """Recent events of the Application and System logs as XML, newest first, at most a hundred for each log.

        Args:
            providers: names of event sources.
            within_s: how far back.

        Raises:
            OSError, TimeoutError: the log can't be read.
        """
        ...

    def job_processes(self) -> tuple[int, ...]:
        """The processes of the job object that we are in; empty where we are in none.

        Raises:
            OSError: the system does not say.
        """
        ...

    def limits(self) -> tuple[Diagnosis, ...]:
        """What the system grants this process of memory, open files and the like, against what a server needs."""
        ...
