"""Whose copies of models are in use: two servers are on one folder while the old one drains and the new one starts.

IIS does so at each recycling, and a second `serve` on the same state folder may run for minutes. Each process holds a
lock for as long as it lives, however it ends; what belongs to nobody who lives may be removed.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Protocol

_FOLDER = ".owners"
"""Beside the copies; no model can have this name, which begins with a dot."""


class Lock(Protocol):
    """A lock that is held."""

    def release(self) -> None:
        """Give it back and remove its file."""
        ...


class TakeLock(Protocol):
    """telemetry.instance_lock.InstanceLock, as it is used here."""

    def __call__(self, path: Path, *, create: bool) -> Lock:
        """Take it.

        Raises:
            OSError: somebody holds it, or the file can't be opened.
        """
        ...


class LivingOwners:
    """The owners of what lies in one folder.

    Args:
        folder: of the copies; private.
        name: of this process, which no other one has.
        take_lock: of this operating system.

    Process: any thread.
    """

    def __init__(self, folder: Path, name: str, take_lock: TakeLock) -> None:
        self._folder = folder / _FOLDER
        self._name = name
        self._take_lock = take_lock
        self._own: Lock | None = None
        self._guard = threading.Lock()

    def live(self) -> None:
        """Be an owner, before anything is put there. Safe to call again.

        Raises:
            OSError: it can't be said.
        """
        with self._guard:
            if self._own is None:
                self._folder.mkdir(exist_ok=True)
                self._own = self._take_lock(self._folder / self._name, create=True)
                for sign in self._folder.iterdir():
                    self._is_gone(sign)  # and its file with it, or there would be one more with each start

    def may_remove(self, owner: str) -> bool:
        """Whether this owner lives no more; who never said that it lives, as former versions of ours, does not."""
        if owner == self._name:
            return False
        with self._guard:
            return self._is_gone(self._folder / owner)

    def end(self) -> None:
        """Be an owner no more. Safe to call twice."""
        with self._guard:
            if self._own is not None:
                with contextlib.suppress(OSError):
                    self._own.release()
                self._own = None

    def _is_gone(self, sign: Path) -> bool:
        if sign.name == self._name:
            return False
        try:
            lock = self._take_lock(sign, create=False)
        except OSError:
            return not sign.exists()
        lock.release()
        return True
