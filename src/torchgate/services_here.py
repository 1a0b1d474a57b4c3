"""What this system has for services: who keeps them, how a process is one, and how one is to be started."""

from __future__ import annotations

import os
import sys

from torchgate.contract.services import ServiceProblem, Services, Supervisor


def services() -> Services:
    """Who keeps them.

    Raises:
        ServiceProblem: nobody does whom we know.
    """
    # Imported here: each room has its calls on its own system alone.
    if sys.platform == "win32":
        from torchgate.windows.services import WindowsServices

        return WindowsServices()
    if sys.platform == "linux":
        from torchgate.posix.systemd_services import SystemdServices

        return SystemdServices()
    raise ServiceProblem("services are made on Windows, and on Linux by systemd; here start `torchgate pool` yourself")


def interpreter() -> tuple[str, dict[str, str]]:
    """The program that runs Torchgate, and what its environment needs for that."""
    if sys.platform == "win32":
        from torchgate.windows.interpreter import interpreter as own
        from torchgate.windows.interpreter import virtual_environment

        return own(), virtual_environment()
    return sys.executable, {}


def supervisor() -> Supervisor | None:
    """Who has started this process as a service, where the environment says so."""
    if sys.platform == "win32":
        return None  # the service control manager starts the command `service host`, which knows
    from torchgate.posix.service_notice import NoticeSocket

    # Taken out: it is for this process alone, and not for what it starts.
    address = os.environ.pop("NOTIFY_SOCKET", "")
    return NoticeSocket(address) if address else None
