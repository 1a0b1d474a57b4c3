"""How a loading takes the place of another: beside it, with one switch, or after it where memory has room for one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from torchgate.contract.errors import ModelNotReady, Overloaded
from torchgate.engine.bring_up import BringUp
from torchgate.engine.catalog import CatalogEntry
from torchgate.engine.leaving import Leaving
from torchgate.engine.memory_budget import MemoryBudget
from torchgate.engine.served_models import ServedModels
from torchgate.engine.served_version import ServedVersion

_log = logging.getLogger("torchgate.engine")

REPLACED = "another loading of it has taken its place"
"""The reason of a loading that has to go."""

_RETRY_REPLACED_S = 5.0
"""Told to callers of a model that is being replaced and has no room for more of them to wait."""


@dataclass
class Plan:
    """What one change of a model is about to do, and then what it has done.

    Args:
        fresh: to be brought up; in the end, those that were.
        retired: to which no request goes any more.
        unchanged: versions that are served already, and need nothing.
        failed: version → why it can't be served.
        vanished: have no folder any more.
    """

    fresh: list[ServedVersion] = field(default_factory=list)
    retired: list[ServedVersion] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    vanished: list[ServedVersion] = field(default_factory=list)


class Succession:
    """Carries plans out.

    Args:
        models: what the door sees.
        new_version: makes a loading of an entry.
        bring_up: brings it up.
        budget: of memory.
        leaving: takes those that have to go.
        max_waiting: requests that may wait for the end of one model's hand-over.

    Process: the event loop only.
    """

    def __init__(
        self,
        models: ServedModels,
        *,
        new_version: Callable[[CatalogEntry], ServedVersion],
        bring_up: BringUp,
        budget: MemoryBudget,
        leaving: Leaving,
        max_waiting: int,
    ) -> None:
        self._models = models
        self._new_version = new_version
        self._bring_up = bring_up
        self._budget = budget
        self._leaving = leaving
        self._max_waiting = max_waiting
        self._hand_overs: dict[str, asyncio.Event] = {}
        self._waiting: dict[str, int] = {}

    async def wait(self, version: ServedVersion) -> None:
        """Return at the end of the hand-over that the version's model is in; at once where it is in none.

        Raises:
            Overloaded: as many wait as may. ModelNotReady: it took longer than a request of this version may.
        """
        name = version.ref.name
        over = self._hand_overs.get(name)
        if over is None:
            return
        if self._waiting.get(name, 0) >= self._max_waiting:
            sentence = f"Model '{name}' is being replaced, and as many requests wait for it as may. Try again in 5 s."
            raise Overloaded(sentence, retry_after_s=_RETRY_REPLACED_S)
        self._waiting[name] = self._waiting.get(name, 0) + 1
        try:
            async with asyncio.timeout(version.entry.max_timeout_s):
                await over.wait()
        except TimeoutError:
            raise ModelNotReady(
                f"Model '{name}' is being replaced. Try again in 5 s.", retry_after_s=_RETRY_REPLACED_S
            ) from None
        finally:
            self._waiting[name] -= 1

    async def beside(self, plan: Plan) -> None:
        """Bring up what is fresh while the old serves, then switch all of it at once."""
        if self._does_not_fit(plan, freed_bytes=0):
            return
        for one in plan.fresh:
            self._begin(one)
        reasons = await asyncio.gather(*(self._bring_up(one) for one in plan.fresh))
        brought, plan.fresh = plan.fresh, []
        for one, reason in zip(brought, reasons, strict=True):
            if reason:
                self._budget.give_back(one.artifact.activation)
                self.show_failure(plan, one, reason)
                continue
            old = self._models.put(one)
            if old is not None and old is not one:
                plan.retired.append(old)
            plan.fresh.append(one)

    async def hand_on(self, plan: Plan, *, by: str) -> None:
        """Unload what serves, then bring up the one that follows; where that fails, bring the old one back.

        Requests wait at the door meanwhile.
        """
        fresh = plan.fresh[0]
        name = fresh.ref.name
        before = [one for one in self._models.of(name) if self._budget.holds(one.artifact.activation)]
        served = [one for one in before if one.description.state == "ready"]
        if self._does_not_fit(plan, freed_bytes=sum(one.entry.memory_bytes for one in before)):
            return
        over = self._hand_overs[name] = asyncio.Event()
        try:
            why = f"handed over to version {fresh.ref.version} on request of {by}"
            await asyncio.gather(*(self._leaving.begin(one, why) for one in before))
            self._begin(fresh)
            reason = await self._bring_up(fresh)
            if reason:
                self._budget.give_back(fresh.artifact.activation)
                plan.fresh.clear()
                plan.failed[fresh.ref.version] = reason
                for one in served:
                    await self._bring_back(one, fresh, reason)
            self._models.settle(name)
        finally:
            del self._hand_overs[name]
            over.set()

    def show_failure(self, plan: Plan, one: ServedVersion, reason: str) -> None:
        """Let its state say why it is not served, or that of the older loading which still is."""
        plan.failed[one.ref.version] = reason
        current = self._models.versions.get(one.ref)
        if current is not None and current is not one and current.description.state == "ready":
            current.notice(f"what lies on disk now is not served: {reason}")
            return
        self._show(one)
        one.change("failed", reason, 0)

    def _does_not_fit(self, plan: Plan, *, freed_bytes: int) -> bool:
        refusal = self._budget.refusal(sum(one.entry.memory_bytes for one in plan.fresh), freed_bytes)
        if not refusal:
            return False
        for one in plan.fresh:
            self.show_failure(plan, one, f"{refusal}.")
        plan.fresh.clear()
        return True

    def _begin(self, one: ServedVersion) -> None:
        """Count it, and show it where nothing else of its version serves."""
        self._budget.take(one.artifact.activation, one.ref, one.entry.memory_bytes)
        current = self._models.versions.get(one.ref)
        if current is None or current.description.state != "ready":
            self._show(one)

    def _show(self, one: ServedVersion) -> None:
        """Put it in the place of one that does not serve; a failed one may have memory still, which goes."""
        old = self._models.put(one)
        if old is not None and old is not one and old.description.state not in ("unloading", "unloaded"):
            self._leaving.begin(old, REPLACED)

    async def _bring_back(self, one: ServedVersion, failed: ServedVersion, reason: str) -> None:
        """Load again what gave way in vain: from the same files, or not at all."""
        if one.ref == failed.ref:
            return  # its files are those that just failed: the old ones are no more
        back = self._new_version(one.entry)
        self._begin(back)
        trouble = await self._bring_up(back)
        if trouble:
            self._budget.give_back(back.artifact.activation)
            _log.error("%s gave way to %s in vain, and can't be loaded again: %s", one.ref, failed.ref, trouble)
        elif back.description.digest != one.description.digest:
            _log.warning("%s was loaded again from other files than before.", one.ref)
        else:
            back.notice(f"version {failed.ref.version} could not take its place: {reason}")
