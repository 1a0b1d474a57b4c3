"""Time that rooms share: one monotonic clock, and deadlines on it."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds on a monotonic clock; injected, so that tests need not wait."""

monotonic_s: Clock = time.perf_counter
"""The clock of the running program.

perf_counter and not monotonic: on Windows before Python 3.13 the latter steps by ~15.6 ms. Both count
from the machine's start on the systems we support, so that a deadline means the same in every process.
"""
