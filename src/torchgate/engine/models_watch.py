"""Looks at the model repository from time to time, and has loaded what has changed and come to rest.

By looking alone (times and sizes of files), because no file system tells of changes on a network share reliably. A
copy that is under way changes from one look to the next, and is left alone until it does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from torchgate.contract.errors import Conflict, TorchgateError
from torchgate.engine.catalog import model_folders
from torchgate.engine.digest import fingerprint
from torchgate.engine.settings import ModelsSettings

_log = logging.getLogger("torchgate.engine")

WATCH = "the watch over the models' folder"
"""For whom changes are made, in the audit trail."""


class Refreshes(Protocol):
    """engine.scheduler.Scheduler, as the watch uses it."""

    async def refresh(self, name: str, *, by: str) -> object:
        """Serve what has changed of a model."""
        ...

    async def forget(self, name: str, *, by: str) -> None:
        """Unload a model that has no folder any more."""
        ...


class Looks:
    """What was seen last, and what was acted on: pure.

    Args:
        first: fingerprint of each model's folder, as it was before the engine read it.
    """

    def __init__(self, first: Mapping[str, str]) -> None:
        self._last = dict(first)
        self._acted_on = dict(first)

    def see(self, now: Mapping[str, str]) -> tuple[list[str], list[str]]:
        """Names of models that are others than what was acted on and have come to rest, and of those that are gone.

        Args:
            now: as `first`.
        """
        changed = [
            name
            for name, seen in sorted(now.items())
            if seen != self._acted_on.get(name) and seen == self._last.get(name)
        ]
        gone = [name for name in sorted(self._acted_on) if name not in now and name not in self._last]
        self._last = dict(now)
        return changed, gone

    def acted(self, name: str) -> None:
        """What was seen of it last has been acted on, whatever came of it."""
        if name in self._last:
            self._acted_on[name] = self._last[name]
        else:
            self._acted_on.pop(name, None)


class ModelsWatch:
    """Keeps an engine and a folder alike.

    Args:
        settings: its folder must be absolute; made before the engine reads it, so that no change falls between.

    Process: the event loop only, except for the looks.
    """

    def __init__(self, settings: ModelsSettings) -> None:
        self._folder = settings.folder
        self._interval_s = settings.watch_interval_s
        self._looks = Looks((self._look() or {}) if self._interval_s else {})

    @asynccontextmanager
    async def over(self, engine: Refreshes) -> AsyncIterator[None]:
        """Watch while the block runs; does nothing where torchgate.toml does not ask for it."""
        if not self._interval_s:
            yield
            return
        task = asyncio.get_running_loop().create_task(self._watch(engine))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def look_once(self, engine: Refreshes) -> None:
        """One look, and what follows from it."""
        now = await asyncio.to_thread(self._look)
        if now is None:
            return  # a share that is away takes nothing out of service
        changed, gone = self._looks.see(now)
        for name in changed:
            await self._act(name, engine.refresh(name, by=WATCH))
        for name in gone:
            await self._act(name, engine.forget(name, by=WATCH))

    async def _act(self, name: str, change: object) -> None:
        try:
            await change  # type: ignore[misc]
        except Conflict:
            return  # a person is at it; the next look sees what is left to do
        except TorchgateError as error:
            _log.warning("%s: %s %s", name, error, error.detail)
        except Exception:  # noqa: BLE001 - a watch that has ended would go unnoticed
            _log.exception("%s could not be loaded by %s.", name, WATCH)
        self._looks.acted(name)

    async def _watch(self, engine: Refreshes) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.look_once(engine)

    def _look(self) -> dict[str, str] | None:
        """Fingerprints of all models' folders; None where the repository can't be read."""
        try:
            return {folder.name: fingerprint(Path(folder)) for folder in model_folders(self._folder)}
        except OSError as error:
            _log.warning("%s can't be read now: %s", self._folder, error.strerror or error)
            return None
