"""Processes that are started and surely ended again, with all their descendants, and what CPU they used."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUTF8": "1",
    "PYTHONPATH": str(HERE),
}
"""The same for every contender: one torch thread, and `systems`, `models`, `workloads` importable."""


class Tree:
    """A started process and all that it started in turn."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log
        self._seen: dict[int, psutil.Process] = {}
        self.members()

    def members(self) -> list[psutil.Process]:
        """The living processes of the tree; all that were ever seen are remembered, so that orphans are ended too."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = self._seen.setdefault(self.process.pid, psutil.Process(self.process.pid))
            for child in root.children(recursive=True):
                self._seen.setdefault(child.pid, child)
        return [process for process in self._seen.values() if process.is_running()]

    def cpu_s(self) -> float:
        """CPU seconds, user and system, of the living processes since each started."""
        total = 0.0
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def memory_mib(self) -> float:
        """Memory of the tree in MiB: unique to each process where the system tells that, else resident."""
        total = 0
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                info = process.memory_full_info()
                total += getattr(info, "pss", None) or info.uss
        return total / 2**20

    def last_words(self) -> str:
        """The end of what the process wrote, on one line."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return " / ".join(line.strip() for line in text.splitlines()[-3:])[-300:]

    def end(self) -> None:
        """Ask all to stop, wait a little, then kill what is left."""
        members = self.members()
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(self.process.pid).terminate()
        psutil.wait_procs(members, timeout=3)
        for process in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if os.name == "posix":  # what was orphaned before we ever saw it still is in the group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, 9)
        psutil.wait_procs(members, timeout=5)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self.process.wait(timeout=10)


@contextlib.contextmanager
def started(argv: Sequence[str], environment: Mapping[str, str], log: Path, *, talks: bool = False) -> Iterator[Tree]:
    """A process in a group of its own, ended with all its descendants at the end, whatever happened.

    Args:
        environment: added to ours.
        log: takes its standard error, and its standard output unless it talks.
        talks: its standard input and output are pipes to us.
    """
    pipe = subprocess.PIPE if talks else subprocess.DEVNULL
    with log.open("wb") as words:
        process = subprocess.Popen(
            argv,
            cwd=HERE,
            env={**os.environ, **ONE_THREAD, **environment},
            stdin=pipe,
            stdout=subprocess.PIPE if talks else words,
            stderr=words,
            start_new_session=True,
        )
    tree = Tree(process, log)
    try:
        yield tree
    finally:
        tree.end()


def free_port() -> int:
    """A port of the loopback address that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def busy_cpu_s() -> float:
    """CPU seconds that the whole machine has been busy for; the difference over a cell shows whether it was alone."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def children_cpu_s() -> float:
    """CPU seconds of our children that have ended; always 0 on Windows, which does not count them."""
    times = os.times()
    return times.children_user + times.children_system


def waits_until(limit_s: float) -> Iterator[float]:
    """Moments to try again at, a fifth of a second apart, until the limit."""
    started_at = time.perf_counter()
    while (waited_s := time.perf_counter() - started_at) < limit_s:
        yield waited_s
        time.sleep(0.2)
