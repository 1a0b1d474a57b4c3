"""A sign that an instance is alive, which ends with its process however that ends.

A lock of SQLite's on an empty file: the standard library's only file lock that is the same on Windows and
Linux, and that the operating system gives back when the process dies.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path


class InstanceLock:
    """The lock on one file, held.

    Raises:
        OSError: somebody else holds it, or the file can't be opened.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self._path = path
        mode = "rwc" if create else "rw"
        try:
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
                uri=True,
            )
        except sqlite3.Error as error:
            raise OSError(f"{path} can't be opened: {error}") from None
        try:
            self._connection.execute("PRAGMA journal_mode=MEMORY")
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._connection.close()
            raise OSError(f"{path} is held by a running instance: {error}") from None

    def release(self) -> None:
        """Give it back and remove the file."""
        self._connection.close()
        with contextlib.suppress(OSError):
            self._path.unlink()
