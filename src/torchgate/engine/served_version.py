"""One model version as the engine serves it: its state, its room, its queue."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
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
        self._back_end = back_end
        self._is_proven = False
        self._is_leaving = False
        self._told: tuple[ModelState, str, int] = ("loading", "", 0)
        self._notice = ""
        self.announced: ModelState | None = None
        """The last state that the audit trail was told of."""
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
            impersonates=artifact.impersonates,
        )

    def enter(self) -> None:
        """One more permit is out for it."""
        self.permits += 1

    def leave(self) -> None:
        """The end of what `enter` began; once each."""
        self.permits -= 1
        if not self.permits:
            self._idle.set()

    def give_up(self) -> None:
        """Nobody waits any longer for permits that are out."""
        self._idle.set()

    async def wait_idle(self, limit_s: float) -> int:
        """Return when no permit is out for it, but at most so much later; how many are out still."""
        self._idle.clear()
        if self.permits:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await self._idle.wait()
        return self.permits

    @property
    def is_gone(self) -> bool:
        """Whether not even what was admitted can run any more."""
        return self.description.state not in ("ready", "unloading")

    def told(self, state: ModelState, reason: str, ready_workers: int) -> None:
        """What the back end says of it. Ready for callers is what has also given its golden answer."""
        self._told = (state, reason, ready_workers)
        if self._is_leaving:
            # No state of its own any more, but what it has taken still runs.
            if state == "failed":
                self.dispatcher.fail_all(self.not_ready())
            elif ready_workers:
                self.dispatcher.wake()
        elif state == "ready" and not self._is_proven:
            self.change("loading", "its first answers are examined", 0)
        else:
            self.change(state, reason, ready_workers)

    @property
    def failure(self) -> str:
        """Why the back end could not load it; empty where it could."""
        state, reason, _ = self._told
        return "" if state == "ready" else reason or f"it is {state}"

    def prove(self) -> None:
        """Its answers are right: it serves callers from now on."""
        self._is_proven = True
        self.told(*self._told)

    def notice(self, text: str) -> None:
        """Say, beside that it is ready, why what lies on disk now is not what is served; empty: it is."""
        self._notice = text
        if self.description.state == "ready":
            self.change("ready", "", self.description.ready_workers)

    def mark_default(self, *, is_default: bool) -> None:
        """Whether a bare name means it."""
        if self.description.is_default != is_default:
            self.description = msgspec.structs.replace(self.description, is_default=is_default)

    def begin_leaving(self, why: str) -> None:
        """Take nothing more; what the back end says of it from now on is no news."""
        self._is_leaving = True
        self.change("unloading", why, self.description.ready_workers)

    async def leave_service(self, limit_s: float, why: str) -> None:
        """Finish what was taken, but at most for so long; then give back all that it has.

        Args:
            why: its reason from then on.
        """
        await self.wait_idle(limit_s)
        self.change("unloaded", why, 0)
        self.dispatcher.give_up(self.not_ready())  # a run that is ended by this is nobody's fault
        await self._back_end.deactivate(self.artifact.activation)
        await self.dispatcher.close(self.not_ready())
        await self.remove_copy()

    async def remove_copy(self) -> None:
        """Take away what was copied for this loading alone, once its workers are gone."""
        if self.artifact.folder != self.entry.artifact.folder:
            await asyncio.to_thread(shutil.rmtree, self.artifact.folder, ignore_errors=True)

    def change(self, state: ModelState, reason: str, ready_workers: int, *, digest: str = "") -> None:
        """Its state from now on. Who waits for a version that can't serve hears of it."""
        before = (self.description.state, self.description.reason)
        if state == "ready" and not reason:
            reason = self._notice
        self.description = msgspec.structs.replace(
            self.description,
            state=state,
            reason=reason,
            ready_workers=ready_workers,
            digest=digest or self.description.digest,
            limits=self._back_end.enforcement(self.artifact.activation),
        )
        if state in ("failed", "unloaded"):
            self.dispatcher.fail_all(self.not_ready())
        elif ready_workers:
            self.dispatcher.wake()
        self._on_change(self, before != (state, reason))

    def _circuits_changed(self, open_circuits: int) -> None:
        self.description = msgspec.structs.replace(self.description, open_circuits=open_circuits)
        self._on_change(self, False)

    def not_ready(self) -> ModelNotReady:
        """Why it can't serve, in words for a caller: the reason is for those with the right to read it."""
        loads = self.description.state == "loading"
        todo = f"Try again in {_RETRY_LOADING_S:g} s." if loads else "Ask whoever runs this server."
        return ModelNotReady(
            f"Model '{self.ref.name}' version '{self.ref.version}' is {self.description.state}. {todo}",
            detail=self.description.reason,
            retry_after_s=_RETRY_LOADING_S if loads else None,
        )
