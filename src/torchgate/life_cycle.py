"""What the audit trail is told besides requests: start and stop, states of models, refusals that were only counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from torchgate.access.identity.refusals import RefusalLimiter
from torchgate.contract.audit_event import AuditEvent, LifecycleEvent, RefusalsEvent
from torchgate.contract.audit_sink import AuditSink
from torchgate.contract.errors import AuditUnavailable
from torchgate.contract.inference import Engine, ModelDescription

_LOOK_INTERVAL_S = 1.0  # between two looks at the models' states: an event is written at most so late
_ACTIVITIES = {"ready": "start", "failed": "failure", "unloaded": "stop"}

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
        self._seen: dict[str, tuple[str, str]] = {}

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
        self, engine: Engine, refusals: RefusalLimiter, on_refusals: Callable[[RefusalsEvent], None]
    ) -> AsyncIterator[None]:
        """Tell what happens to models, and of each interval's counted refusals, while the block runs."""
        watch = asyncio.gather(self._watch_models(engine), self._watch_refusals(refusals, on_refusals))
        try:
            yield
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            await self._tell_models(engine)
            await self._tell_refusals(refusals, on_refusals)

    async def _watch_models(self, engine: Engine) -> None:
        while True:
            await self._tell_models(engine)
            await asyncio.sleep(_LOOK_INTERVAL_S)

    async def _watch_refusals(self, refusals: RefusalLimiter, on_refusals: Callable[[RefusalsEvent], None]) -> None:
        while True:
            await asyncio.sleep(refusals.interval_s)
            await self._tell_refusals(refusals, on_refusals)

    async def _tell_refusals(self, refusals: RefusalLimiter, on_refusals: Callable[[RefusalsEvent], None]) -> None:
        for event in refusals.drain():
            on_refusals(event)
            await self._write(event)

    async def _tell_models(self, engine: Engine) -> None:
        for model in engine.models():
            state = (model.state, model.reason)
            if self._seen.get(str(model.ref)) != state:
                self._seen[str(model.ref)] = state
                await self._tell_model(model)

    async def _tell_model(self, model: ModelDescription) -> None:
        level = logging.WARNING if model.state == "failed" else logging.INFO
        _log.log(level, "Model %s is %s.%s", model.ref, model.state, f" {model.reason}" if model.reason else "")
        sentence = f"Model {model.ref} ({model.digest or 'no digest'}) is {model.state}."
        activity = _ACTIVITIES.get(model.state, "update")
        await self._tell(activity, f"model {model.ref}", f"{sentence} {model.reason}".strip())

    async def _tell(self, activity: str, subject: str, sentence: str) -> None:
        await self._write(LifecycleEvent(self._wall_clock(), activity, subject, sentence))

    async def _write(self, event: AuditEvent) -> None:
        try:
            await self._audit.write(event)
        except AuditUnavailable as error:
            _log.error("The audit trail could not take %s: %s", event, error.detail or error)
