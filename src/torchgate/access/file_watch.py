"""A file that counts while the server runs: read again when it has changed, the last good one kept.

By looking at its content from time to time, because times and sizes can stay the same, and no file system tells of
changes on a network share reliably.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.bounded_files import read_bounded

MAX_BYTES = 4 << 20
"""Of one file; keys and certificates need far less."""

_log = logging.getLogger("torchgate.access")


class FileWatch:
    """Looks at files, and has them taken when they have changed and hold what they should.

    A file that is missing counts as changed only when it is missing twice in a row: some programs replace a file by
    removing it first.

    Args:
        subject: for the audit, e.g. `API keys`.
        paths: of the files, which count together.
        read: reads them, in a thread; `accept` puts into force what was read, on the event loop.
            Either raises ValueError where the files can't be used: then what was in force stays.
        interval_s: between looks.
        on_lifecycle: is told of each change and each failure.

    Thread/process: one event loop, except for the looks.
    """

    def __init__(
        self,
        subject: str,
        paths: Sequence[Path],
        read: Callable[[], Callable[[], None]],
        *,
        interval_s: float,
        on_lifecycle: Callable[[LifecycleEvent], None],
    ) -> None:
        self._subject = subject
        self._paths = tuple(paths)
        self._read = read
        self._interval_s = interval_s
        self._on_lifecycle = on_lifecycle
        self._taken = self._digest()
        self._seen_missing = False
        self._task: asyncio.Task[None] | None = None
        self.trouble = ""

    async def start(self) -> None:
        """Begin to look; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def look_once(self) -> None:
        """One look, and what follows from it."""
        now = await asyncio.to_thread(self._digest)
        if now == self._taken:
            self._seen_missing = False
            return
        if None in now and not self._seen_missing:
            self._seen_missing = True
            return
        self._seen_missing = False
        try:
            accept = await asyncio.to_thread(self._read)
            accept()
        except ValueError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - a watch that has ended would go unnoticed
            self._fail(f"{self._subject} can't be read again: unexpected {type(error).__name__}")
        else:
            self.trouble = ""
            self._tell("update", f"{self._subject} were read again from {self._names()}.")
        self._taken = now

    def _fail(self, sentence: str) -> None:
        self.trouble = f"{sentence.rstrip('.')}. What was in force before stays in force."
        self._tell("failure", self.trouble)

    def _tell(self, activity: str, sentence: str) -> None:
        _log.log(logging.WARNING if activity == "failure" else logging.INFO, "%s", sentence)
        self._on_lifecycle(LifecycleEvent(time.time(), activity, self._subject, sentence))

    def _names(self) -> str:
        return ", ".join(path.name for path in self._paths)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.look_once()

    def _digest(self) -> tuple[bytes | None, ...]:
        return tuple(_digest_of(path) for path in self._paths)


def _digest_of(path: Path) -> bytes | None:
    """Of the content; None where there is no file, and a word where it can't be read."""
    try:
        return hashlib.sha256(read_bounded(path, MAX_BYTES)).digest()
    except FileNotFoundError:
        return None
    except OSError:
        return b"unreadable"
