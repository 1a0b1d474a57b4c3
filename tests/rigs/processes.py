"""Whether processes have ended."""

from __future__ import annotations

import time

import psutil


def has_ended(pid: int, within_s: float = 15) -> bool:
    """Whether it is gone, or a zombie that nobody has reaped; waits for it."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False
