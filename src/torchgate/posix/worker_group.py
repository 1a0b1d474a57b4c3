"""The control group of one worker: what it holds, and how all that is in it ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from torchgate.contract.worker_limits import DEFAULT_PROCESSES, Enforcement, WorkerLimits

_PERIOD_US = 100_000
"""In which a group's time of processors is counted: the kernel's own default."""

_THREADS = 64
_THREADS_OF_A_PROCESSOR = 4
_THREADS_OF_A_PROCESS = 4
"""What `pids.max` adds, because it counts threads: those of torch, of its libraries and of further processes."""


def tasks(processes: int, processors: int) -> int:
    """`pids.max` for so many processes on a machine with so many processors."""
    return _THREADS + _THREADS_OF_A_PROCESSOR * processors + _THREADS_OF_A_PROCESS * processes


class WorkerGroup:
    """One worker with all that it starts, however that detaches itself.

    Args:
        folder: of the group, which has no process yet.
        controllers: that it has.
    """

    def __init__(self, folder: Path, controllers: Collection[str]) -> None:
        self.folder = folder
        self._controllers = controllers

    def enter(self, pid: int) -> None:
        """Take a process in, before it has started others.

        Raises:
            OSError: the kernel refused it.
        """
        self._write("cgroup.procs", pid)

    def limit(self, limits: WorkerLimits) -> Iterator[Enforcement]:
        """Hold the group to those limits for which it has a controller, and always to some number of processes.

        Raises:
            OSError: the kernel refused one.
        """
        if limits.memory_bytes and "memory" in self._controllers:
            self._write("memory.max", limits.memory_bytes)
            self._write("memory.oom.group", 1)
            with suppress(FileNotFoundError):  # a kernel without swap
                self._write("memory.swap.max", 0)
            yield Enforcement("memory_bytes", "cgroup", "of the worker with all that it starts", limits.memory_bytes)
        if "pids" in self._controllers:
            processes = limits.processes or DEFAULT_PROCESSES
            bound = tasks(processes, os.cpu_count() or 1)
            self._write("pids.max", bound)
            yield Enforcement("processes", "cgroup", f"{bound} threads of all its processes together", processes)
        if limits.cpu_percent and "cpu" in self._controllers:
            quota_us = _PERIOD_US * (os.cpu_count() or 1) * limits.cpu_percent // 100
            self._write("cpu.max", f"{quota_us} {_PERIOD_US}")
            yield Enforcement("cpu_percent", "cgroup", value=limits.cpu_percent)

    def reached(self) -> tuple[str, ...]:
        """At which of its limits the kernel has ended something in it, or refused it something."""
        ended, refused = self._count("memory.events", "oom_kill"), self._count("pids.events", "max")
        sentences = []
        if ended:
            sentences.append(f"reached its memory limit: the kernel has ended {ended} of its processes")
        if refused:
            sentences.append(f"reached its number of processes: {refused} more were refused")
        return tuple(sentences)

    def kill(self) -> None:
        """End everything in it at once. Safe to call twice, and when it is gone."""
        with suppress(FileNotFoundError):
            kill_group(self.folder)

    def remove(self) -> bool:
        """Whether it is gone now; False while something in it has not ended yet."""
        return remove_group(self.folder)

    def _count(self, file: str, name: str) -> int:
        try:
            lines = (self.folder / file).read_text(encoding="ascii").splitlines()
        except OSError:  # no such controller
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)

    def _write(self, name: str, value: int | str) -> None:
        # Unbuffered, and no new file: what the kernel refuses is raised here, by name.
        descriptor = os.open(self.folder / name, os.O_WRONLY)
        try:
            os.write(descriptor, str(value).encode("ascii"))
        finally:
            os.close(descriptor)


def kill_group(folder: Path) -> None:
    """End everything in a group and in those below it.

    Raises:
        FileNotFoundError: it is gone.
    """
    try:
        descriptor = os.open(folder / "cgroup.kill", os.O_WRONLY)
    except FileNotFoundError:
        _kill_frozen(folder)  # Linux before 5.14
        return
    try:
        os.write(descriptor, b"1")
    finally:
        os.close(descriptor)


def _kill_frozen(folder: Path) -> None:
    """One by one; what is frozen starts nothing meanwhile, and dies all the same."""
    if sys.platform == "win32":
        return
    (folder / "cgroup.freeze").write_text("1", encoding="ascii")
    for group in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def remove_group(folder: Path) -> bool:
    """Remove a group and those below it, the deepest first; False while one of them has processes."""
    below = sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True)
    try:
        for group in (*below, folder):
            group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
