"""Loading and unloading at run time, one change of a model at a time, each told to the audit trail."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import Conflict, LoadFailed, UnknownModel
from torchgate.contract.inference import ModelChange, ModelState
from torchgate.engine.bring_up import BringUp
from torchgate.engine.catalog import Catalog, CatalogEntry
from torchgate.engine.digest import DigestRefused
from torchgate.engine.leaving import Leaving
from torchgate.engine.served_models import ServedModels
from torchgate.engine.served_version import ServedVersion
from torchgate.engine.succession import REPLACED, Plan, Succession

_log = logging.getLogger("torchgate.engine")

_FOLDER_GONE = "its folder is gone"


class CatalogChanges:
    """Changes what is served.

    Args:
        models: what the door sees.
        succession: how a loading takes the place of another.
        leaving: takes those that have to go.
        read: a model's folder, called on a thread; None where there is none; raises OSError.
        new_version: makes a loading of an entry.
        bring_up: looks at what lies on disk.
        on_lifecycle: told of each change, and for whom it was.

    Process: the event loop only.
    """

    def __init__(  # noqa: PLR0913 - each of its parts once, by keyword
        self,
        models: ServedModels,
        succession: Succession,
        leaving: Leaving,
        *,
        read: Callable[[str], Catalog | None],
        new_version: Callable[[CatalogEntry], ServedVersion],
        bring_up: BringUp,
        on_lifecycle: Callable[[LifecycleEvent], None],
    ) -> None:
        self._models = models
        self._succession = succession
        self._leaving = leaving
        self._read = read
        self._new_version = new_version
        self._bring_up = bring_up
        self._on_lifecycle = on_lifecycle
        self._busy: set[str] = set()

    @contextmanager
    def change_of(self, name: str) -> Iterator[None]:
        """The only change of this model while the block runs.

        Raises:
            Conflict: there is one already.
        """
        if name in self._busy:
            raise Conflict(f"Model '{name}' is being loaded or unloaded already. Try again when that is done.")
        self._busy.add(name)
        try:
            yield
        finally:
            self._busy.discard(name)

    async def load(
        self, name: str, version: str | None, *, by: str, force: bool = False, only_changed: bool = False
    ) -> ModelChange:
        """As contract.inference.Engine says.

        Args:
            only_changed: leave unloaded what was unloaded on request and has the same files still.
        """
        with self.change_of(name):
            catalog = await self._read_now(name)
            entries = _entries(catalog, name, version)
            if catalog is None or not entries:
                raise UnknownModel(f"Request for unknown model: {_shown(name, version)} has no folder.")
            if any(entry.hands_over for entry in entries):
                entries = [_meant(entries, catalog.defaults[name])]
            states = frozenset[ModelState]({"ready", "unloaded"} if only_changed else () if force else {"ready"})
            plan = await self._plan(entries, states)
            if version is None:
                self._models.pin(name, catalog.defaults[name] if name in catalog.pinned else None)
                plan.vanished = [one for one in self._models.of(name) if one.ref not in catalog.entries]
            if plan.fresh and plan.fresh[0].entry.hands_over:
                await self._succession.hand_on(plan, by=by)
            else:
                await self._succession.beside(plan)
            return self._done(name, plan, by)

    async def unload(self, name: str, version: str | None, *, by: str) -> ModelChange:
        """As contract.inference.Engine says."""
        with self.change_of(name):
            found = [one for one in self._models.of(name) if version in (None, one.ref.version)]
            if not found:
                raise UnknownModel(f"Request for unknown model: {_shown(name, version)} is not found.")
            going = [one for one in found if one.description.state in ("ready", "failed")]
            why = f"unloaded on request of {by}"
            leaving = [self._leaving.begin(one, why) for one in going]
            self._models.settle(name)
            await asyncio.gather(*leaving)
            unloaded = tuple(one.ref.version for one in going)
            if unloaded:
                self._tell("stop", name, f"{by} had {_listed(name, unloaded)} unloaded.")
            return ModelChange(name, unloaded=unloaded, default=self._models.ready_default(name))

    async def forget(self, name: str, *, by: str) -> None:
        """Unload a model whose folder is gone, and know nothing of it any more.

        Raises:
            Conflict: it is being changed.
        """
        with self.change_of(name):
            plan = Plan(vanished=self._models.of(name))
            self._done(name, plan, by)

    async def _read_now(self, name: str) -> Catalog | None:
        try:
            return await asyncio.to_thread(self._read, name)
        except OSError as error:
            raise LoadFailed("The model repository can't be read now.", detail=str(error)) from None

    async def _plan(self, entries: list[CatalogEntry], states: frozenset[ModelState]) -> Plan:
        """What there is to do. A version in one of these states stays as it is where its files are the same."""
        plan = Plan()
        for entry in entries:
            fresh = self._new_version(entry)
            current = self._models.versions.get(fresh.ref)
            mistake = entry.mistake
            if not mistake and current is not None and _may_be_unchanged(current, entry, states):
                mistake, is_unchanged = await self._compare(fresh, current)
                if is_unchanged:
                    plan.unchanged += [fresh.ref.version] if current.description.state == "ready" else []
                    continue
            if mistake:
                self._succession.show_failure(plan, fresh, mistake)
            else:
                plan.fresh.append(fresh)
        return plan

    async def _compare(self, fresh: ServedVersion, current: ServedVersion) -> tuple[str, bool]:
        """What is wrong with the files on disk, and whether they are those that are served."""
        try:
            digest = await self._bring_up.digest(fresh)
        except (DigestRefused, OSError) as error:
            return str(error), False
        if digest != current.description.digest:
            return "", False
        current.notice("")
        return "", True

    def _done(self, name: str, plan: Plan, by: str) -> ModelChange:
        """Switch the default, tell, and let go of what is not needed any more."""
        for one in plan.vanished:
            self._models.forget(one.ref)
        self._models.settle(name)
        for one in plan.retired:
            self._leaving.begin(one, REPLACED)
        for one in plan.vanished:
            self._leaving.begin(one, _FOLDER_GONE)
        loaded = tuple(one.ref.version for one in plan.fresh)
        unloaded = tuple(one.ref.version for one in plan.vanished)
        default = self._models.ready_default(name)
        done = [f"{_listed(name, loaded)} loaded"] if loaded else []
        done += [f"{_listed(name, unloaded)} unloaded, because {_FOLDER_GONE}"] if unloaded else []
        if done:
            digests = "".join(f" {one.ref} is {one.description.digest}." for one in plan.fresh)
            meaning = f" A bare name means version {default}." if default else ""
            self._tell("update", name, f"{by} had {' and '.join(done)}.{meaning}{digests}")
        if plan.failed:
            raise self._failure(name, plan, by)
        return ModelChange(name, loaded, tuple(plan.unchanged), unloaded, default)

    def _failure(self, name: str, plan: Plan, by: str) -> LoadFailed:
        shown = _listed(name, tuple(plan.failed))
        reasons = sorted(set(plan.failed.values()))
        detail = reasons[0]
        if len(reasons) > 1:
            detail = " ".join(f"Version {version}: {reason}" for version, reason in plan.failed.items())
        self._tell("failure", name, f"{by} wanted {shown} loaded, which failed: {detail}")
        serves = any(one.description.state == "ready" for one in self._models.of(name))
        rest = "What was served before still is" if serves else "Nothing of this model is served now"
        return LoadFailed(f"{shown} could not be loaded. {rest}; `models status` has the reason.", detail=detail)

    def _tell(self, activity: str, name: str, sentence: str) -> None:
        _log.info("%s", sentence)
        self._on_lifecycle(LifecycleEvent(time.time(), activity, f"model {name}", sentence))


def _may_be_unchanged(current: ServedVersion, entry: CatalogEntry, states: frozenset[ModelState]) -> bool:
    return current.entry == entry and current.description.state in states


def _entries(catalog: Catalog | None, name: str, version: str | None) -> list[CatalogEntry]:
    if catalog is None:
        return []
    if version is not None:
        found = catalog.entries.get(ModelRef(name, version))
        return [] if found is None else [found]
    return list(catalog.entries.values())


def _meant(entries: list[CatalogEntry], default: str) -> CatalogEntry:
    """Of a model that has one version loaded at a time: the one that it should be."""
    return next((entry for entry in entries if entry.artifact.ref.version == default), entries[-1])


def _shown(name: str, version: str | None) -> str:
    return f"'{name}'" if version is None else f"'{name}' version '{version}'"


def _listed(name: str, versions: tuple[str, ...]) -> str:
    return ", ".join(f"{name}:{version}" for version in versions)
