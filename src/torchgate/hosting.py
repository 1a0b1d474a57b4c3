"""What ties a running server to whoever started it: being told to stop, and the port that is waited for."""

from __future__ import annotations

import asyncio

import msgspec

from torchgate.gate.early_port import EarlyPort
from torchgate.gate.job_check import job_check
from torchgate.stop_signals import StopSignals
from torchgate.terminal import note
from torchgate.windows_here import has_launcher, processes_in_our_job

_SEEN_S = 1.0
"""In which a module that looks every 250 ms has surely looked."""

_POLL_S = 0.02


class Hosting(msgspec.Struct, frozen=True):
    """The ends of one process that its host has in hand.

    Args:
        stop: tells when to stop.
        port: listens already where the host waits for it.
    """

    stop: StopSignals
    port: EarlyPort

    def warn_of_job(self) -> None:
        """Say beforehand why IIS's module will not accept this server, where that can be seen."""
        if self.port.is_open and has_launcher():
            for finding in job_check(processes_in_our_job()):
                note(str(finding))

    async def module_has_looked(self) -> None:
        """Return when workers may be started: IIS's module has looked whose the port is, if there is one.

        Where a virtual environment's launcher listens by its child, the module lets no more than 16 processes into its
        job until then. It connects right after; without anybody who connects, its looks are waited for.
        Source: ASP.NET Core Module V2, serverprocess.cpp (MAX_ACTIVE_CHILD_PROCESSES).
        """
        port = self.port
        # A listening socket can't be awaited on every loop.
        while port.is_open and port.since_s < _SEEN_S and not port.has_caller():  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
