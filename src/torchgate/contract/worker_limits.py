"""What one worker may take of the machine, and what the operating system says about holding it to that."""

from __future__ import annotations

import msgspec

DEFAULT_PROCESSES = 64
"""Of a worker whose limits say nothing of processes, where the operating system can hold it to that: what starts others
without end is ended by it, and nothing useful comes near it."""


class WorkerLimits(msgspec.Struct, frozen=True):
    """Limits of one worker process with all that it starts; 0 or empty: none.

    Args:
        memory_bytes: of memory that it may commit.
        processes: that it may be, itself included; 0: DEFAULT_PROCESSES where that can be held.
        processors: numbers of those that it may run on, from 0.
        cpu_percent: of all processors of the machine together, 1 to 100.
        device_memory_fraction: of its device's memory that torch's allocator may give out, above 0 to 1.
    """

    memory_bytes: int = 0
    processes: int = 0
    processors: tuple[int, ...] = ()
    cpu_percent: int = 0
    device_memory_fraction: float = 0.0


class Enforcement(msgspec.Struct, frozen=True):
    """How one limit is held.

    Args:
        limit: the field of WorkerLimits.
        by: `cgroup`, `rlimit`, `affinity`, `job` or `torch`; empty: not at all.
        note: why not, or what to know about how.
        value: of the limit, as WorkerLimits says it.
    """

    limit: str
    by: str
    note: str = ""
    value: int | float | tuple[int, ...] = 0

    def __str__(self) -> str:
        text = f"{self.limit} by {self.by}" if self.by else f"{self.limit} NOT ENFORCED"
        return f"{text} ({self.note})" if self.note else text
