"""Limits of a running child: by its control group where it has one, else by what needs no privilege."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from torchgate.contract.worker_limits import Enforcement, WorkerLimits
from torchgate.posix.worker_group import WorkerGroup

if sys.platform != "win32":
    import os
    import resource


def limit_process(pid: int, limits: WorkerLimits, group: WorkerGroup | None = None) -> tuple[Enforcement, ...]:
    """Hold a process, and what it starts from here on, to its limits; what can't be held is said.

    Args:
        pid: of a child that is not reaped yet.
        group: that it is in.

    Raises:
        OSError: the kernel refused one that it could hold.
    """
    by_group = {one.limit: one for one in group.limit(limits)} if group is not None else {}
    # The resource limit stays beside the group's: it lets an allocation fail, where the group's ends the worker.
    held = {one.limit: one for one in _limit(pid, limits)}
    return tuple((held | by_group).values())


def _limit(pid: int, limits: WorkerLimits) -> Iterator[Enforcement]:
    if sys.platform != "linux":
        return
    # A core file of a worker holds weights, and inputs of callers.
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    if limits.memory_bytes:
        # Not RLIMIT_AS: CUDA reserves far more addresses than it uses. DATA counts private writable memory.
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        bound = limits.memory_bytes if hard == resource.RLIM_INFINITY else min(hard, limits.memory_bytes)
        resource.prlimit(pid, resource.RLIMIT_DATA, (bound, bound))
        note = "each process of the worker for itself; shared memory not counted"
        yield Enforcement("memory_bytes", "rlimit", note, bound)
    if limits.processors:
        _bind(pid, limits.processors)
        yield Enforcement("processors", "affinity", "the model's own code could undo it", limits.processors)
    if limits.processes:
        # RLIMIT_NPROC counts all processes of the account, the server's and other workers' too, and root's never.
        yield Enforcement("processes", "", "needs a control group with 'pids'", limits.processes)
    if limits.cpu_percent:
        note = "needs a control group with 'cpu'; or use processors or threads"
        yield Enforcement("cpu_percent", "", note, limits.cpu_percent)


def _bind(pid: int, processors: tuple[int, ...]) -> None:
    """Each thread that there is, because affinity is a thread's own; later ones inherit it."""
    if sys.platform == "linux":
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):  # a thread that has ended since
                os.sched_setaffinity(int(task.name), processors)
