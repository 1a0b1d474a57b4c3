"""A pool and a gate on one project, for as long as this process runs: `python gate_and_pool.py PROJECT`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

_LOOK_S = 0.5
_LEAVE_S = 2.0
"""For each to end by itself; whoever started us ends what is left."""


def main() -> int:
    """Start both, and end with whichever ends first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the gate hears of it first, and the pool after it
    started: list[subprocess.Popen[bytes]] = []
    try:
        pool = _start("pool", started)
        gate = _start("gate", started)
        while pool.poll() is None and gate.poll() is None:
            time.sleep(_LOOK_S)
        return 1
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(timeout=_LEAVE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(command: str, started: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-m", "torchgate", command, sys.argv[1]])
    started.append(process)
    return process


if __name__ == "__main__":
    raise SystemExit(main())
