"""All model versions of an engine: loaded in the background at its start, changed on request, let go at its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.back_end import BackEnd
from torchgate.contract.errors import TorchgateError, Unavailable
from torchgate.contract.inference import ModelChange
from torchgate.engine.bring_up import BringUp
from torchgate.engine.catalog import Catalog, CatalogEntry
from torchgate.engine.catalog_changes import CatalogChanges
from torchgate.engine.installation import Installation
from torchgate.engine.leaving import Leaving
from torchgate.engine.memory_budget import MemoryBudget
from torchgate.engine.served_models import ServedModels
from torchgate.engine.served_version import ServedVersion
from torchgate.engine.settings import EngineSettings
from torchgate.engine.shared import Shared
from torchgate.engine.succession import Succession
from torchgate.engine.trusted_code import Examined

Result = TypeVar("Result")

_log = logging.getLogger("torchgate.engine")

_ACTIVITIES = {"ready": "start", "failed": "failure", "unloaded": "stop"}


class Repository:
    """Owns the versions of an engine.

    Args:
        catalog: what there is at the start.
        back_end, settings, shared: as the scheduler's.
        examine: what to load of an entry, on a thread, before anything of it runs; raises DigestRefused or OSError.
        digest: of a folder, on a thread; raises the same.
        read: what there is of a model now, on a thread; None where there is nothing; raises OSError.
        installation: knows whether anything may be loaded here.
        on_change: called after each change of what the door sees.

    Process: the event loop only.
    """

    def __init__(  # noqa: PLR0913 - each of its parts once
        self,
        catalog: Catalog,
        back_end: BackEnd,
        settings: EngineSettings,
        shared: Shared,
        *,
        examine: Callable[[CatalogEntry], Examined],
        digest: Callable[[Path], str],
        read: Callable[[str], Catalog | None],
        installation: Installation,
        on_change: Callable[[], None],
    ) -> None:
        self._back_end = back_end
        self._settings = settings
        self._shared = shared
        self._on_change = on_change
        self.installation = installation
        self.models = ServedModels(on_change)
        self._bring_up = BringUp(back_end, examine, digest, installation.refusal)
        self._budget = MemoryBudget(settings.memory_bytes)
        self._leaving = Leaving(self._budget)
        self.succession = Succession(
            self.models,
            new_version=self._new_version,
            bring_up=self._bring_up,
            budget=self._budget,
            leaving=self._leaving,
            max_waiting=settings.max_queue_requests,
        )
        self._changes = CatalogChanges(
            self.models,
            self.succession,
            self._leaving,
            read=read,
            new_version=self._new_version,
            bring_up=self._bring_up,
            on_lifecycle=shared.on_lifecycle,
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._has_warmed = False
        for ref in sorted(catalog.entries):
            self.models.put(self._new_version(catalog.entries[ref]))
        self.models.defaults.update(catalog.defaults)
        for name in catalog.pinned:
            self.models.pin(name, catalog.defaults[name])

    @property
    def is_warm(self) -> bool:
        """Whether there was a moment when nothing was loading: what is loaded later is no start."""
        versions = self.models.versions.values()
        self._has_warmed = self._has_warmed or all(one.description.state != "loading" for one in versions)
        return self._has_warmed

    def start(self) -> None:
        """Begin to load everything; returns at once."""
        self.installation.start()
        for one in self.models.versions.values():
            if one.entry.mistake:
                self._tell(one)
        chosen = self._choice()
        self._back_end.expect([one.artifact for one in chosen])
        for name in sorted({ref.name for ref in self.models.versions}):
            self._begin(self._load_at_start(name, [one for one in chosen if one.ref.name == name]))

    async def drain(self, drain_s: float, error: TorchgateError) -> int:
        """Begin nothing more and finish what was taken, but at most for so long; how many requests were given up.

        Args:
            error: for those.
        """
        await self.installation.stop()
        for task in self._tasks:
            task.cancel()
        versions = {*self.models.versions.values(), *self._leaving.versions}
        left = sum(await asyncio.gather(*(one.wait_idle(drain_s) for one in versions)))
        for one in versions:
            one.dispatcher.give_up(error)
            one.give_up()
        return left

    async def close(self, error: TorchgateError) -> None:
        """Let go of everything; the back end has stopped.

        Args:
            error: for suspects, who will have no second run.
        """
        await self._leaving.close()
        for one in self.models.versions.values():
            await one.dispatcher.close(error)
            one.change("unloaded", "the server has stopped", 0)
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def load(self, name: str, version: str | None, *, by: str, force: bool) -> ModelChange:
        """As contract.inference.Engine says; goes on when its caller gives up."""
        return await self._carried_out(self._changes.load(name, version, by=by, force=force))

    async def unload(self, name: str, version: str | None, *, by: str) -> ModelChange:
        """As contract.inference.Engine says; goes on when its caller gives up."""
        return await self._carried_out(self._changes.unload(name, version, by=by))

    async def refresh(self, name: str, *, by: str) -> ModelChange:
        """As Scheduler says."""
        return await self._carried_out(self._changes.load(name, None, by=by, only_changed=True))

    async def forget(self, name: str, *, by: str) -> None:
        """As CatalogChanges says."""
        await self._changes.forget(name, by=by)

    def _choice(self) -> list[ServedVersion]:
        """What is loaded at the start: everything sound, defaults first, as far as memory and hand-over allow."""
        models, chosen = self.models, []
        sound = [one for one in models.versions.values() if not one.entry.mistake]
        for one in sorted(sound, key=lambda one: models.defaults[one.ref.name] != one.ref.version):
            is_default = models.defaults[one.ref.name] == one.ref.version
            refusal = self._budget.refusal(one.entry.memory_bytes)
            if one.entry.hands_over and not is_default:
                one.change("unloaded", 'only one version is loaded at a time: reload = "hand_over"', 0)
            elif refusal:
                one.change("failed", f"{refusal}.", 0)
            else:
                self._budget.take(one.artifact.activation, one.ref, one.entry.memory_bytes)
                chosen.append(one)
        return sorted(chosen, key=lambda one: one.ref)

    async def _load_at_start(self, name: str, versions: list[ServedVersion]) -> None:
        with self._changes.change_of(name):
            reasons = await asyncio.gather(*(self._bring_up(one) for one in versions))
            for reason, one in zip(reasons, versions, strict=True):
                if reason:
                    self._budget.give_back(one.artifact.activation)
            self.models.settle(name)

    def _new_version(self, entry: CatalogEntry) -> ServedVersion:
        return ServedVersion(entry, self._back_end, self._settings, self._shared, self._changed)

    def _begin(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _carried_out(self, change: Coroutine[Any, Any, ModelChange]) -> ModelChange:
        """What came of a change, which goes on when its caller gives up.

        Raises:
            Unavailable: the server stops, and the change was given up. And what the change raises.
        """
        task = self._begin(change)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise Unavailable("This server is stopping; the change was given up.", retry_after_s=10.0) from None
            raise

    def _changed(self, version: ServedVersion, is_news: bool) -> None:
        self._has_warmed = self.is_warm
        self._on_change()
        if is_news:
            self._tell(version)

    def _tell(self, version: ServedVersion) -> None:
        state, reason = version.description.state, version.description.reason
        level = logging.ERROR if state == "failed" else logging.INFO
        _log.log(level, "model %s is %s%s", version.ref, state, f": {reason}" if reason else ".")
        is_notice = state == version.announced == "ready"  # of what lies on disk: no change of what serves
        version.announced = state
        if state in _ACTIVITIES and not is_notice:
            sentence = f"Model {version.ref} is {state}{f': {reason}' if reason else '.'}"
            self._shared.on_lifecycle(LifecycleEvent(time.time(), _ACTIVITIES[state], f"model {version.ref}", sentence))
