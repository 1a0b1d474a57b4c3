"""One model version as the engine serves it: its state, its room, its queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from torchgate.contract.back_end import BackEnd
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import ModelNotReady
from torchgate.contract.inference import ModelDescription, ModelState
from torchgate.engine.admission import Room
from torchgate.engine.catalog import CatalogEntry
from torchgate.engine.circuits import Circuits
from torchgate.engine.dispatch import Dispatcher
from torchgate.engine.settings import EngineSettings
from torchgate.engine.shared import Shared

_RETRY_LOADING_S = 5.0
"""Told to callers of a model that loads: most load within some seconds."""


class ServedVersion:
    """What the scheduler keeps of a version.

    Args:
        entry: of the catalog.
        back_end, settings: as the scheduler's.
        shared: by all versions.
        on_change: called after each change, and told whether state or reason are others than before.
    """

    def __init__(
        self,
        entry: CatalogEntry,
        back_end: BackEnd,
        settings: EngineSettings,
        shared: Shared,
        on_change: Callable[[ServedVersion, bool], None],
    ) -> None:
        self.entry = entry
        self.ref: ModelRef = entry.artifact.ref
        artifact = self.artifact = msgspec.structs.replace(entry.artifact, activation=next(shared.activations))
        self._on_change = on_change
        self.permits = 0
        self._idle = asyncio.Event()
        # Half of the section is for inputs: answers can always be written.
        self.room = Room(self.ref, settings.max_queue_requests, settings.section_bytes // 2)
        self.circuits = Circuits(self.ref, settings, shared, self._circuits_changed)
        self.dispatcher = Dispatcher(
            artifact,
            back_end,
            self.room,
            max_batch_delay_s=entry.max_batch_delay_s,
            shared=shared,
            circuits=self.circuits,
        )
        self.description = ModelDescription(
            ref=self.ref,
            digest="",
            platform=f"torchgate_{artifact.format}",
            signature=artifact.signature,
            max_batch_size=artifact.max_batch_size,
            max_batch_delay_s=entry.max_batch_delay_s,
            max_timeout_s=entry.max_timeout_s,
            parameters=entry.request_parameters,
            state="failed" if entry.mistake else "loading",
            reason=entry.mistake or "it has not begun to load",
            activation=artifact.activation,
        )

    def enter(self) -> None:
        """One more permit is out for it."""
        self.permits += 1

    def leave(self) -> None:
        """The end of what `enter` began; once each."""
        self.permits -= 1
        if not self.permits:
            self._idle.set()

    async def wait_idle(self, limit_s: float) -> int:
        """Return when no permit is out for it, but at most so much later; how many are out still."""
        self._idle.clear()
        if self.permits:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await self._idle.wait()
        return self.permits

    def change(self, state: ModelState, reason: str, ready_workers: int, *, digest: str = "") -> None:
        """Its state from now on. Who waits for a version that can't serve hears of it."""
        before = (self.description.state, self.description.reason)
        self.description = msgspec.structs.replace(
            self.description,
            state=state,
            reason=reason,
            ready_workers=ready_workers,
            digest=digest or self.description.digest,
        )
        if state in ("failed", "unloaded"):
            self.dispatcher.fail_all(self.not_ready())
        elif ready_workers:
            self.dispatcher.wake()
        self._on_change(self, before != (state, reason))

    def _circuits_changed(self, open_circuits: int) -> None:
        self.description = msgspec.structs.replace(self.description, open_circuits=open_circuits)

    def not_ready(self) -> ModelNotReady:
        """Why it can't serve, in words for a caller: the reason is for those with the right to read it."""
        loads = self.description.state == "loading"
        todo = f"Try again in {_RETRY_LOADING_S:g} s." if loads else "Ask whoever runs this server."
        return ModelNotReady(
            f"Model '{self.ref.name}' version '{self.ref.version}' is {self.description.state}. {todo}",
            detail=self.description.reason,
            retry_after_s=_RETRY_LOADING_S if loads else None,
        )
