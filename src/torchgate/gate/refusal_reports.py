"""Refusals beyond an address's bucket, written to the audit trail as one counted event an interval."""

from __future__ import annotations

import asyncio
import logging

from torchgate.contract.errors import AuditUnavailable
from torchgate.gate.services import GateServices

_log = logging.getLogger("torchgate.gate")


async def report_refusals(services: GateServices, interval_s: float) -> None:
    """Report for ever; the composition root runs it as a task and cancels it, then calls report_once."""
    while True:
        await asyncio.sleep(interval_s)
        await report_once(services)


async def report_once(services: GateServices) -> None:
    """Write what was counted since the last report; what the sink can't take goes to the log."""
    for event in services.refusals.drain():
        try:
            await services.audit.write(event)
        except AuditUnavailable:
            _log.error("%d refusals of %s could not be recorded.", event.count, event.peer)
