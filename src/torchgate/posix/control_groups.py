"""Control groups (cgroup v2) of one server: one for itself, in it one for each worker, and none that is not its own.

    the place that was delegated to us
    └── torchgate-<random>     locked for as long as its server lives
        ├── server             the server and its guard, where processes may not stay in the place itself
        └── worker-1 …         each with its limits

A group whose lock nobody holds is a dead server's: what is left in it is ended and removed when the next one starts.
The guard is a shell that waits for the server's end, however that comes, and then ends what is in the workers' groups.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from torchgate.contract.clock import monotonic_s
from torchgate.posix.group_place import CONTROLLERS, GroupPlace, NoControlGroups, find_place
from torchgate.posix.worker_group import WorkerGroup, kill_group, remove_group

if sys.platform != "win32":
    import fcntl

_log = logging.getLogger("torchgate.engine")

PREFIX = "torchgate-"
_SERVER = "server"
_ATTEMPTS = 5
_GUARD = 'read -r _; for group in "$1"/worker-*; do echo 1 >"$group/cgroup.kill"; done'
"""Ends when the server's end of its standard input is closed; then it ends the workers with all that they started."""

_REMOVAL_S = 2.0
"""How long to wait for killed processes to be gone: the kernel ends them one by one, in milliseconds."""

_POLL_S = 0.01


class ControlGroups:
    """Makes groups for workers.

    Args:
        place: where.

    Raises:
        NoControlGroups: the kernel refuses them there.
    """

    def __init__(self, place: GroupPlace) -> None:
        self.unheld: dict[str, str] = {}
        """Controllers that workers do without, and why."""
        self.folder: Path
        """Of this server's own group."""
        self._place = place
        self._numbers = itertools.count(1)
        self._leaving: list[WorkerGroup] = []
        self._guard: subprocess.Popen[bytes] | None = None
        try:
            sweep(place.folder)
            self.folder, self._lock = _made(place.folder)
        except OSError as error:
            raise NoControlGroups(f"no group can be made in {place.folder}: {error}") from None
        try:
            self._settle()
        except OSError as error:
            self.close()
            raise NoControlGroups(f"{self.folder} can't be used: {error}") from None

    def __str__(self) -> str:
        held = sorted(set(CONTROLLERS) - self.unheld.keys())
        words = [f"controllers: {', '.join(held) or 'none'}", *self.unheld.values()]
        return f"workers have control groups of their own in {self.folder}; {'; '.join(words)}"

    def new(self) -> WorkerGroup:
        """A group for one worker.

        Raises:
            OSError: the kernel refuses it, e.g. because there are too many.
        """
        self._leaving = [group for group in self._leaving if not group.remove()]
        folder = self.folder / f"worker-{next(self._numbers)}"
        folder.mkdir()
        return WorkerGroup(folder, frozenset(CONTROLLERS) - self.unheld.keys())

    def end(self, group: WorkerGroup) -> None:
        """End what is in it, and remove it as soon as that is gone."""
        group.kill()
        if not group.remove():
            self._leaving.append(group)

    def close(self) -> None:
        """End what is left, and leave the place as it was, as far as it goes. Safe to call twice."""
        if self._lock < 0:
            return
        for folder in self.folder.glob("worker-*"):
            with suppress(OSError):
                kill_group(folder)
        until = monotonic_s() + _REMOVAL_S
        for folder in self.folder.glob("worker-*"):
            while not remove_group(folder) and monotonic_s() < until:
                time.sleep(_POLL_S)
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        self._move_back()
        remove_group(self.folder)
        os.close(self._lock)
        self._lock = -1

    def _settle(self) -> None:
        """Come in where we must, have the controllers handed down, and set the guard."""
        server = self.folder / _SERVER
        server.mkdir()
        if self._place.is_own and not self._place.is_root:
            _write(server / "cgroup.procs", str(os.getpid()))
        for controller in CONTROLLERS:
            why = self._handed_down(controller)
            if why:
                self.unheld[controller] = why
        self._set_guard(server)

    def _handed_down(self, controller: str) -> str:
        """Have the workers' groups get a controller; empty, or why they don't."""
        if controller not in self._place.controllers():
            return f"{self._place.folder} has no controller '{controller}'"
        try:
            _write(self._place.folder / "cgroup.subtree_control", f"+{controller}")
            _write(self.folder / "cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            others = "; other processes are in it" if self._place.is_own and not self._place.is_root else ""
            return f"{self._place.folder} does not hand down '{controller}': {error.strerror}{others}"
        return ""

    def _set_guard(self, server: Path) -> None:
        if not (server / "cgroup.kill").exists():
            return  # Linux before 5.14: the next server sweeps
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "torchgate-guard", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
        )
        _write(server / "cgroup.procs", str(self._guard.pid))

    def _move_back(self) -> None:
        if not self._place.is_own or self._place.is_root:
            return
        for folder in (self.folder, self._place.folder):
            for controller in CONTROLLERS:
                with suppress(OSError):  # another server of ours still needs it there
                    _write(folder / "cgroup.subtree_control", f"-{controller}")
        with suppress(OSError):
            _write(self._place.folder / "cgroup.procs", str(os.getpid()))


def open_control_groups(wanted: str) -> ControlGroups | None:
    """Groups of this server's workers, or None where there can be none; the log says which.

    Args:
        wanted: `engine.control_group`.

    Raises:
        NoControlGroups: the configuration names a group that can't be used.
    """
    try:
        groups = ControlGroups(find_place(wanted))
    except NoControlGroups as error:
        if wanted not in ("auto", "off"):
            raise
        _log.info("workers have no control groups of their own: %s", error)
        return None
    _log.info("%s", groups)
    return groups


def sweep(folder: Path) -> None:
    """End and remove what servers left behind that live no more.

    Raises:
        OSError: the place can't be read.
    """
    for group in _stale(folder):
        with suppress(OSError):
            left = sum(len(file.read_text(encoding="ascii").split()) for file in group.rglob("cgroup.procs"))
            kill_group(group)
            if left:
                _log.warning("ended %d processes that a dead server left in %s", left, group)
        until = monotonic_s() + _REMOVAL_S
        while not remove_group(group) and monotonic_s() < until:
            time.sleep(_POLL_S)


def _stale(folder: Path) -> Iterator[Path]:
    """Each is locked while it is looked at: a server that is just making it then takes another."""
    for group in folder.glob(f"{PREFIX}*"):
        lock = _locked(group)
        if lock is not None:
            try:
                yield group
            finally:
                os.close(lock)


def _made(folder: Path) -> tuple[Path, int]:
    """A fresh group of this server and its lock.

    Raises:
        OSError: it can't be made.
    """
    for _ in range(_ATTEMPTS):
        group = folder / f"{PREFIX}{secrets.token_hex(4)}"
        group.mkdir()
        lock = _locked(group)
        if lock is not None and group.exists():
            return group, lock
        if lock is not None:
            os.close(lock)
    raise OSError("others remove each group at once")


def _locked(group: Path) -> int | None:
    """A lock that ends with this process; None where another process has it, or the group is gone."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
