"""Services: programs that the operating system starts by itself, watches, and stops in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, Protocol

import msgspec

ServiceState = Literal["stopped", "starting", "running", "stopping"]
"""What both Windows and systemd can say of one."""


class ServiceProblem(Exception):
    """Why nothing was done with a service; the text says what to do next."""


class ServiceSpec(msgspec.Struct, frozen=True):
    """What is installed.

    Args:
        name: short, without spaces: what commands call it.
        title: for people, where services are listed.
        description: what it is for; one line.
        command: the program's full path first; then its arguments, none of them quoted.
        account: that it runs as, by the name that the system has for it.
        stop_timeout_s: how long it may take to stop before it is ended.
        start_timeout_s: how long it may take until it says that it runs.
        environment: beside what every service of this system has.
        folders: that it alone writes into; they are made, and closed to others.
        shared_folders: that it writes into beside others.
        restart_delays_s: before it is started again after the first failure, the second, and all later ones.
    """

    name: str
    title: str
    description: str
    command: tuple[str, ...]
    account: str
    stop_timeout_s: float
    start_timeout_s: float = 120.0
    environment: Mapping[str, str] = MappingProxyType({})
    folders: tuple[str, ...] = ()
    shared_folders: tuple[str, ...] = ()
    restart_delays_s: tuple[int, int, int] = (5, 30, 120)


class ServiceStatus(msgspec.Struct, frozen=True):
    """How a service is.

    Args:
        state: now.
        account: that it runs as.
        command: as the system has it, one line.
        pid: of its process; 0 where it has none.
        exit_code: of its last process, where it ended by itself; 0 is success.
    """

    state: ServiceState
    account: str
    command: str
    pid: int = 0
    exit_code: int = 0


class Services(Protocol):
    """The services of this machine.

    Every call raises ServiceProblem where the caller may not do it, the service is not there, or it is there already.

    Thread/process: any thread; calls wait.
    """

    def planned(self, spec: ServiceSpec) -> Sequence[str]:
        """What `install` would do, as lines for people or for a file."""
        ...

    def install(self, spec: ServiceSpec) -> Sequence[str]:
        """Make one that starts with the system; it does not run yet.

        Returns:
            What this system did not take of it, in sentences.
        """
        ...

    def uninstall(self, name: str, timeout_s: float) -> None:
        """Stop it where it runs, and take it away; what it has written stays."""
        ...

    def start(self, name: str, timeout_s: float) -> None:
        """Start it, and return when it runs; where it does already, at once."""
        ...

    def stop(self, name: str, timeout_s: float) -> None:
        """Stop it, and return when it has; where it does not run, at once."""
        ...

    def status(self, name: str) -> ServiceStatus:
        """How it is."""
        ...


class Supervisor(Protocol):
    """Who has started this process as a service, and is told how it is."""

    def listen(self, stop: Callable[[], None]) -> None:
        """Call `stop`, on any thread, when the process shall end."""
        ...

    def ready(self) -> None:
        """It does now what it is for."""
        ...

    def stopping(self) -> None:
        """It ends, and will have within its limit."""
        ...
