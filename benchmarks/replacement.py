"""How long after the death of a worker its model answers again, with a standby ready.

    python benchmarks/replacement.py              20 kills
    python benchmarks/replacement.py --kills 5

The model sleeps 100 ms in `load`, as if it read weights for so long. Two settings by turns: with one standby, and with
none, where the replacement begins by importing torch. The time is of one question that is asked right after the kill
and waits in the queue. Needs an environment with Torchgate, torch and psutil: `python dev.py test` makes one in .venv.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

import machine
from processes import started
from small_project import GIVE_UP_S, SmallProject, small_project, summary

LOAD_S = 0.1
_QUIET_S = 0.6

_MODEL = f"""\
import time

import torchgate


class Slow(torchgate.Model):
    def load(self, context):
        time.sleep({LOAD_S})

    def predict(self, batch):
        return {{"y": batch.inputs["x"]}}
"""


class Server:
    """One `torchgate serve` with one model and one replica.

    Args:
        root: its process.
        project: that it serves.
        standbys: that wait when nothing is wrong.
    """

    def __init__(self, root: psutil.Process, project: SmallProject, standbys: int) -> None:
        self._root, self._project, self._standbys = root, project, standbys

    def answered_s(self, *, retries: bool = False) -> float:
        """Seconds until a question is answered with 200."""
        started_at = time.perf_counter()
        while time.perf_counter() - started_at < GIVE_UP_S:
            if self._project.infer() == 200:
                return time.perf_counter() - started_at
            if not retries:
                raise SystemExit("The server did not answer a question after a kill: this is no figure, but a bug.")
            time.sleep(0.05)
        raise SystemExit("The server does not answer.")

    def kill_worker(self) -> None:
        """End the worker that serves: the oldest, for a standby is always younger."""
        self._until_quiet()
        oldest = min(self._workers(), key=lambda worker: worker.create_time())
        oldest.kill()
        oldest.wait(10)

    def _workers(self) -> list[psutil.Process]:
        return [child for child in self._root.children() if any("worker_app" in part for part in child.cmdline())]

    def _until_quiet(self) -> None:
        """Until all workers that should be there are, and none of them computes: standbys have imported torch."""
        seen, since = (0, 0.0), time.perf_counter()
        give_up_at = since + GIVE_UP_S
        while time.perf_counter() - since < _QUIET_S:
            if time.perf_counter() > give_up_at:
                raise SystemExit("The workers do not come to rest.")
            time.sleep(0.05)
            workers = self._workers()
            now = (len(workers), sum(worker.cpu_times().user for worker in workers))
            if now != seen or now[0] < 1 + self._standbys:
                seen, since = now, time.perf_counter()


def main() -> int:
    """Measure, print and write."""
    given = _arguments()
    with contextlib.ExitStack() as running:
        servers = {f"{count} standby": running.enter_context(_server(count)) for count in (1, 0)}
        times: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(given.kills):
            for name, server in servers.items():
                server.kill_worker()
                times[name].append(server.answered_s())
    figures = {name: summary([one * 1e3 for one in some], 1) for name, some in times.items()}
    for name, some in figures.items():
        print(f"{name}: {some}")
    if given.output:
        run = {"machine": machine.describe_machine(), "load_s": LOAD_S, "next_answer_ms": figures}
        given.output.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each (20)")
    parser.add_argument("--output", type=Path, help="a file for the figures, as JSON")
    return parser.parse_args()


@contextlib.contextmanager
def _server(standbys: int) -> Iterator[Server]:
    settings = f"\n[engine]\nstandbys = {standbys}\nrestart_budget = 1000\n"
    with small_project("Slow", _MODEL, settings) as project:
        line = [sys.executable, "-m", "torchgate", "serve", str(project.folder)]
        with started(line, {}, project.folder / "log") as tree:
            server = Server(psutil.Process(tree.process.pid), project, standbys)
            server.answered_s(retries=True)
            yield server


if __name__ == "__main__":
    raise SystemExit(main())
