"""What a service prints, in files of limited size and number."""

from __future__ import annotations

import contextlib
import io
import re
import threading
from pathlib import Path
from typing import TextIO

MAX_BYTES = 10 << 20
KEPT_FILES = 5


class LogFiles(io.TextIOBase):
    """A stream of lines for sys.stdout and sys.stderr of a process that has neither.

    Each process, and each full file, begins the next one: on Windows an open file can't be renamed.

    Args:
        folder: is made if it is missing.
        stem: files are called `STEM-000001.log` and on.
        max_bytes: of one file, after which the next line goes into a new one.
        kept: files of that stem; older ones are removed.

    Raises:
        OSError: the folder can't be written.

    Thread/process: any thread.
    """

    def __init__(self, folder: Path, stem: str, *, max_bytes: int = MAX_BYTES, kept: int = KEPT_FILES) -> None:
        self._folder = folder
        self._stem = stem
        self._max_bytes = max_bytes
        self._kept = kept
        self._lock = threading.Lock()
        self._written = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._file = self._next()

    @property
    def path(self) -> Path:
        """Of the file that is written now."""
        return Path(self._file.name)

    def write(self, text: str) -> int:
        """Write, and never fail: a full disk must not end what serves."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._file.write(text)
            self._file.flush()
            self._written += len(text.encode("utf-8", "backslashreplace"))
            if self._written >= self._max_bytes and text.endswith("\n"):
                old, self._file = self._file, self._next()
                old.close()
        return len(text)

    def close(self) -> None:
        """Close the file; what is written later is lost."""
        with self._lock:
            self._file.close()

    def _next(self) -> TextIO:
        there = self._numbers()
        path = self._folder / f"{self._stem}-{max(there, default=0) + 1:06}.log"
        for number in sorted(there)[: max(len(there) - self._kept + 1, 0)]:
            with contextlib.suppress(OSError):
                (self._folder / f"{self._stem}-{number:06}.log").unlink()
        self._written = 0
        return path.open("x", encoding="utf-8", errors="backslashreplace", newline="\n")

    def _numbers(self) -> list[int]:
        name = re.compile(rf"{re.escape(self._stem)}-([0-9]{{6,}})\.log")
        return [int(found[1]) for one in self._folder.iterdir() if (found := name.fullmatch(one.name))]
