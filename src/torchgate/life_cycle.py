"""What the audit trail is told besides requests: start and stop, states of models, refusals that were only counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from torchgate.access.identity.refusals import RefusalLimiter
from torchgate.contract.audit_event import AuditEvent, LifecycleEvent, RefusalsEvent
from torchgate.contract.audit_sink import AuditSink
from torchgate.contract.errors import AuditUnavailable

_log = logging.getLogger("torchgate.app")


class LifeCycle:
    """Writes life-cycle events; what the trail can't take goes to the log alone, because no answer waits for it.

    Args:
        audit: the trail, started.
        wall_clock: Unix seconds.
    """

    def __init__(self, audit: AuditSink, *, wall_clock: Callable[[], float] = time.time) -> None:
        self._audit = audit
        self._wall_clock = wall_clock
        self._noted: deque[LifecycleEvent] = deque()
        self._has_noted = asyncio.Event()

    def note(self, event: LifecycleEvent) -> None:
        """Take an event of a model or a worker; it is written as soon as the trail takes it, in order."""
        self._noted.append(event)
        self._has_noted.set()

    @asynccontextmanager
    async def of_server(self, version: str) -> AsyncIterator[None]:
        """The server's start, and its stop when the block ends."""
        await self._tell("start", "server", f"Torchgate {version} starts as process {os.getpid()}.")
        try:
            yield
        finally:
            await self._tell("stop", "server", f"Torchgate {version} stops; nothing more is answered.")

    @asynccontextmanager
    async def watching(
        self, refusals: RefusalLimiter, on_refusals: Callable[[RefusalsEvent], None]
    ) -> AsyncIterator[None]:
        """Write what was noted, and each interval's counted refusals, while the block runs; the rest at its end."""
        watch = asyncio.gather(self._watch_noted(), self._watch_refusals(refusals, on_refusals))
        try:
            yield
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            await self._tell_noted()
            await self._tell_refusals(refusals, on_refusals)

    @asynccontextmanager
    async def watching_models(self) -> AsyncIterator[None]:
        """Write what was noted while the block runs, and the rest at its end; for a process that refuses nobody."""
        watch = asyncio.create_task(self._watch_noted())
        try:
            yield
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            await self._tell_noted()

    async def _watch_noted(self) -> None:
        while True:
            await self._has_noted.wait()
            self._has_noted.clear()
            await self._tell_noted()

    async def _watch_refusals(self, refusals: RefusalLimiter, on_refusals: Callable[[RefusalsEvent], None]) -> None:
        while True:
            await asyncio.sleep(refusals.interval_s)
            await self._tell_refusals(refusals, on_refusals)

    async def _tell_refusals(self, refusals: RefusalLimiter, on_refusals: Callable[[RefusalsEvent], None]) -> None:
        for event in refusals.drain():
            on_refusals(event)
            await self._write(event)

    async def _tell_noted(self) -> None:
        while self._noted:
            await self._write(self._noted.popleft())

    async def _tell(self, activity: str, subject: str, sentence: str) -> None:
        await self._write(LifecycleEvent(self._wall_clock(), activity, subject, sentence))

    async def _write(self, event: AuditEvent) -> None:
        try:
            await self._audit.write(event)
        except AuditUnavailable as error:
            _log.error("The audit trail could not take %s: %s", event, error.detail or error)
