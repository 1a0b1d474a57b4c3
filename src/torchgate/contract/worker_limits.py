"""What one worker may take of the machine, and what the operating system says about holding it to that."""

from __future__ import annotations

import msgspec


class WorkerLimits(msgspec.Struct, frozen=True):
    """Limits of one worker process with all that it starts; 0 or empty: none.

    Args:
        memory_bytes: of memory that it may commit.
        processes: that it may be, itself included.
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
        by: `rlimit`, `affinity` or `job`; empty: not at all.
        note: why not, or what to know about how.
    """

    limit: str
    by: str
    note: str = ""

    def __str__(self) -> str:
        text = f"{self.limit} by {self.by}" if self.by else f"{self.limit} NOT ENFORCED"
        return f"{text} ({self.note})" if self.note else text
