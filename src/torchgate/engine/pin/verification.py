"""Whether this installation is what its lock says: found out once, beside the server's start, never in its way.

Nothing of a model is loaded before the answer is there. Whatever the throw-away process does, hang or die, there is an
answer in time, and it names what the process was doing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.engine.catalog import CatalogEntry
from torchgate.engine.digest import DigestRefused
from torchgate.engine.pin.compare import Mismatch, mismatches, model_mismatch
from torchgate.engine.pin.lock import LOCK_FILE, Lock, LockRefused, lock_of, read_lock
from torchgate.engine.pin.settings import PinSettings
from torchgate.engine.pin.surveyor import Seen, SurveyEnded
from torchgate.engine.trusted_code import Examined

_log = logging.getLogger("torchgate.engine")

_SHOWN = 3
"""Mismatches that a sentence names; the log has all of them."""

Take = Callable[[tuple[str, ...]], Awaitable[Seen]]
"""Surveys this installation, with canaries on these devices; raises SurveyEnded."""


class PinVerification:
    """Compares a project with its lock, and holds back what differs.

    Args:
        file: torchgate.lock, which may not be there.
        settings: `[pin]`.
        take: surveys.
        models: `name:version` of each that is in the catalog at the start.
        on_lifecycle: told of what differs.

    Process: the event loop, but for `holding` what it is given, which runs on threads.
    """

    def __init__(
        self,
        file: Path,
        settings: PinSettings,
        take: Take,
        *,
        models: Collection[str],
        on_lifecycle: Callable[[LifecycleEvent], None],
    ) -> None:
        self._file = file
        self._settings = settings
        self._take = take
        self._models = frozenset(models)
        self._on_lifecycle = on_lifecycle
        self._is_enforced = settings.mode == "enforce"
        self._task: asyncio.Task[str] | None = None
        self.reason = ""
        """Why the server is not to be called ready, without values, for everybody who asks; or empty."""

    def start(self) -> None:
        """Begin; returns at once."""
        if self._settings.mode == "off":
            return
        if self._is_enforced:
            self.reason = f"whether the installation is what {LOCK_FILE} says is being found out"
        self._task = asyncio.get_running_loop().create_task(self._verified())

    async def stop(self) -> None:
        """End what still runs of it. Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def refusal(self) -> str:
        """Why nothing may be loaded here, with values, for those who run this server; empty where it may be."""
        task = self._task
        if task is None or not self._is_enforced:
            return ""
        return await asyncio.shield(task)

    def holding(self, examine: Callable[[CatalogEntry], Examined]) -> Callable[[CatalogEntry], Examined]:
        """What examines a model version, and refuses one whose files are not those that are locked."""
        if self._settings.mode == "off":
            return examine

        def held(entry: CatalogEntry) -> Examined:
            found = examine(entry)
            try:
                self._hold(entry, found)
            except DigestRefused:
                if found.folder != entry.artifact.folder:
                    shutil.rmtree(found.folder, ignore_errors=True)
                raise
            return found

        return held

    def _hold(self, entry: CatalogEntry, found: Examined) -> None:
        """The lock is read anew: a model that was reviewed and locked while we run can be loaded."""
        try:
            lock = read_lock(self._file)
            mismatch = None if lock is None else model_mismatch(lock, str(entry.artifact.ref), found.digest)
        except LockRefused as refused:
            why = str(refused)
        else:
            why = f"not what {LOCK_FILE} says: {mismatch}" if mismatch is not None else ""
        if why and self._is_enforced:
            raise DigestRefused(why)
        if why:
            _log.warning("%s: %s", entry.artifact.ref, why)

    async def _verified(self) -> str:
        try:
            lock = await asyncio.to_thread(read_lock, self._file)
            found = () if lock is None else await self._differences(lock)
        except LockRefused as refused:
            return self._differs(f"{LOCK_FILE} can't be used", str(refused))
        except Exception as error:  # noqa: BLE001 - whatever it is: not found out is not verified
            _log.exception("Whether the installation is what %s says could not be found out.", LOCK_FILE)
            why = f"whether the installation is what {LOCK_FILE} says is not known"
            return self._differs(why, f"{why}: {error!r}")
        for mismatch in found:
            self._log("%s", mismatch)
        if found:
            facts, sentences = _first([one.fact for one in found], ", "), _first([str(one) for one in found], " ")
            why = f"the installation is not what {LOCK_FILE} says: "
            return self._differs(why + facts, why + sentences)
        self.reason = ""
        if lock is not None:
            _log.info("The installation is what %s says.", self._file)
            self._look_for_models(lock)
        return ""

    def _look_for_models(self, lock: Lock) -> None:
        """What is locked and not there keeps nothing else from serving, but the server is not what it should be."""
        missing = sorted(lock.models.keys() - self._models)
        if missing:
            why = f"models of {LOCK_FILE} are not there: {_first(missing, ', ')}"
            self._differs(why, f"{why}. Restore them, or write the lock anew: torchgate pin.")

    async def _differences(self, lock: Lock) -> tuple[Mismatch, ...]:
        begun = time.perf_counter()
        try:
            seen = await self._take(tuple(sorted(lock.canary.devices)))
        except SurveyEnded as ended:
            for line in ended.printed:
                _log.warning("survey: %s", line)
            return (unknown(ended),)
        _log.info("Surveyed this installation in %.1f s.", time.perf_counter() - begun)
        return mismatches(lock, lock_of(seen.facts, seen.canaries, {}), seen.troubles)

    def _differs(self, public: str, private: str) -> str:
        """Tell the log and the trail; what bring-ups are told."""
        self._log("%s", private)
        self._on_lifecycle(LifecycleEvent(time.time(), "failure", "installation", private[:1].upper() + private[1:]))
        if not self._is_enforced:
            return ""
        self.reason = public
        return private

    def _log(self, text: str, value: object) -> None:
        _log.log(logging.ERROR if self._is_enforced else logging.WARNING, text, value)


def unknown(ended: SurveyEnded) -> Mismatch:
    """That an installation could not be examined at all."""
    return Mismatch(
        "installation",
        "one that can be examined",
        str(ended),
        "Repair what it says, or give it more time by pin.timeout_s; `torchgate pin --verify` tries again",
    )


def _first(texts: list[str], between: str) -> str:
    more = len(texts) - _SHOWN
    return between.join(texts[:_SHOWN]) + (f"{between}and {more} more" if more > 0 else "")
