"""app_offline.htm: how the module hears of it, and what it answers while the file is there.

Source: AppOfflineTrackingApplication, FILE_WATCHER, AppOfflineApplication and PollingAppOfflineApplication of ASP.NET
Core Module V2, which HttpPlatformHandler v2 took over as they are. Of 1.2 nothing of that is known.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

if sys.platform == "win32":
    from tests.rigs.iis_module.windows_process import content_of
else:
    from tests.rigs.iis_module.posix_process import content_of

NAME = "app_offline.htm"
_REFRESH_S = 0.2
_LOOK_S = 0.05


def is_watched(name: str) -> bool:
    """Whether a change to a file of this name ends the process: the module compares as many characters as it has."""
    return NAME.startswith(name.lower())


class OfflinePage:
    """Answers in place of a process, and looks once in 200 ms whether the file is still there.

    Args:
        folder: of the application.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / NAME
        self._looked_at = -_REFRESH_S
        self._is_there = False
        self.content = b""

    def is_there(self) -> bool:
        """Whether it is; its content is read anew, and an empty file changes nothing of what was read before."""
        if time.monotonic() - self._looked_at > _REFRESH_S:
            self._looked_at = time.monotonic()
            self._is_there = self._file.is_file()
            self.content = (self._read() if self._is_there else b"") or self.content
        return self._is_there

    def _read(self) -> bytes:
        try:
            return content_of(self._file)
        except OSError:
            return b""


class FolderWatch:
    """Calls once, from a thread of its own, when such a file is made, written to, renamed or removed.

    Args:
        folder: of the application; not what is below it.
        changed: is called; the watch ends with it.
    """

    def __init__(self, folder: Path, changed: Callable[[], None]) -> None:
        self._folder = folder
        self._changed = changed
        self._is_ended = threading.Event()
        self._before = self._seen()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Look no more; waits for a call that is under way."""
        self._is_ended.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _look(self) -> None:
        while not self._is_ended.wait(_LOOK_S):
            seen = self._seen()
            if seen != self._before or NAME in seen:
                self._changed()
                return

    def _seen(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in self._folder.iterdir():
            if is_watched(path.name):
                try:
                    state = path.stat()
                except FileNotFoundError:
                    continue
                found[path.name.lower()] = (state.st_mtime_ns, state.st_size)
        return found
