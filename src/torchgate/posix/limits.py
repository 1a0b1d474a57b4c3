"""Limits of a running child: resource limits and processor affinity, which need no privilege."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from torchgate.contract.worker_limits import Enforcement, WorkerLimits

if sys.platform != "win32":
    import os
    import resource


def limit_process(pid: int, limits: WorkerLimits) -> tuple[Enforcement, ...]:
    """Hold a process, and what it starts from here on, to its limits; what can't be held is said.

    Args:
        pid: of a child that is not reaped yet.

    Raises:
        OSError: the kernel refused one that it could hold.
    """
    return tuple(_limit(pid, limits))


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
        yield Enforcement("memory_bytes", "rlimit", "each process of the worker for itself; shared memory not counted")
    if limits.processors:
        _bind(pid, limits.processors)
        yield Enforcement("processors", "affinity", "the model's own code could undo it")
    if limits.processes:
        # RLIMIT_NPROC counts all processes of the account, the server's and other workers' too, and root's never.
        yield Enforcement("processes", "", "Linux limits the processes of an account, not of a worker")
    if limits.cpu_percent:
        yield Enforcement("cpu_percent", "", "use processors or threads on Linux")


def _bind(pid: int, processors: tuple[int, ...]) -> None:
    """Each thread that there is, because affinity is a thread's own; later ones inherit it."""
    if sys.platform == "linux":
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):  # a thread that has ended since
                os.sched_setaffinity(int(task.name), processors)
