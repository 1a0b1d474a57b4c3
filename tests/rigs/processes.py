"""Processes as tests look at them: one that starts or ends at that moment is no failure of a test.

psutil says NoSuchProcess of one that has gone, AccessDenied or ZombieProcess of one that goes, and under Wine a plain
OSError while the memory of one that starts can't be read yet.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import psutil

LONG_S = 120.0
"""For what has to come: a machine may be several times slower than ours, and stand still for seconds."""
_T = TypeVar("_T")
_WORKER = "torchgate.worker_app"
_TRIES = 20
_PAUSE_S = 0.05


def has_ended(pid: int, within_s: float = LONG_S) -> bool:
    """Whether it is gone, or a zombie that nobody has reaped; waits for it."""
    until = time.monotonic() + within_s
    while is_alive(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError):
        return psutil.pid_exists(pid)


def left_of(processes: Sequence[psutil.Process], within_s: float = LONG_S) -> list[psutil.Process]:
    """Those that have not ended; waits for them."""
    return list(psutil.wait_procs(processes, timeout=within_s)[1])


def children_of(pid: int, *, recursive: bool = False) -> list[psutil.Process]:
    """What it has started; nothing where it is gone itself."""
    return _seen(lambda: psutil.Process(pid).children(recursive=recursive), [])


def workers_of(pid: int | None = None) -> list[psutil.Process]:
    """The worker processes below this one, or below the test's own."""
    found = children_of(psutil.Process().pid if pid is None else pid, recursive=True)
    return [one for one in found if any(_WORKER in word for word in _seen(one.cmdline, []))]


def environments_of(processes: Sequence[psutil.Process]) -> list[dict[str, str]]:
    """Of those that still run."""
    return [seen for one in processes if (seen := _seen(one.environ, {}))]


def kill(process: psutil.Process | int) -> None:
    """End it without notice; nothing where it has ended by itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        (psutil.Process(process) if isinstance(process, int) else process).kill()


def open_handles() -> int:
    """How many handles or descriptors this process has."""
    own = psutil.Process()
    return own.num_handles() if sys.platform == "win32" else own.num_fds()


def _seen(look: Callable[[], _T], otherwise: _T) -> _T:
    """What is seen of a process; another look where it is there and can't be read for the moment."""
    for _ in range(_TRIES):
        try:
            return look()
        except psutil.NoSuchProcess:
            return otherwise
        except (psutil.Error, OSError):
            time.sleep(_PAUSE_S)
    return otherwise
