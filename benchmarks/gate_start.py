"""How long a gate takes from the start of its process to its first answer, its pool warm.

    python benchmarks/gate_start.py               20 starts of each kind
    python benchmarks/gate_start.py --starts 5
    python benchmarks/gate_start.py --against ../other/src     by turns with the sources of another checkout

Three kinds by turns: a gate on its own socket, a gate as IIS's module starts it, and `serve` so. What is asked again
and again from the start on is one row of a small model, or of `serve`, whose models load meanwhile, whether it lives;
`listens` is when a connection is first taken, `answers` when the first answer is there. CPU seconds are the server's
own until then, user and system: on a machine that others use, too, they are the steadier figure. Needs an environment
with Torchgate, torch and psutil: `python dev.py test` makes one in .venv.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

import machine
from processes import started
from small_project import GIVE_UP_S, SmallProject, small_project, summary

_PAUSE_S = 0.005
_TOKEN = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
_PAIRING = {"MS-ASPNETCORE-TOKEN": _TOKEN}
_WITH_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}

_MODEL = """\
import torchgate


class Echo(torchgate.Model):
    def predict(self, batch):
        return {"y": batch.inputs["x"]}
"""


class Kind:
    """A way to start a server, and what it is asked first.

    Args:
        project: that it serves.
        command: `gate`, `serve` or `pool`.
        behind_iis: started as IIS's module does it.
    """

    def __init__(self, project: SmallProject, command: str, *, behind_iis: bool = False) -> None:
        self._project, self._command = project, command
        self._flags = ["--set", "gate.front_door=ancm"] if behind_iis else []
        self._headers = _PAIRING if behind_iis else {}
        of_iis = {"ASPNETCORE_PORT": str(project.port), "ASPNETCORE_TOKEN": _TOKEN, "ASPNETCORE_APPL_PATH": "/"}
        self._environment = of_iis if behind_iis else {}

    @contextlib.contextmanager
    def runs(self, environment: Mapping[str, str]) -> Iterator[psutil.Process]:
        """It, for the block."""
        line = [sys.executable, "-m", "torchgate", self._command, str(self._project.folder), *self._flags]
        surroundings = {**_WITH_BYTECODE, **self._environment, **environment}
        with started(line, surroundings, self._log()) as tree:
            yield psutil.Process(tree.process.pid)

    def measure(self, environment: Mapping[str, str]) -> dict[str, float]:
        """Start it, and end it after its first answer; seconds until it listened and answered, CPU until then."""
        started_at = time.perf_counter()
        with self.runs(environment) as server:
            listens_s = self._until(started_at, self._is_listening)
            answers_s = self._until(started_at, self.is_answering)
            cpu = server.cpu_times()
        return {"listens_s": listens_s, "answers_s": answers_s, "cpu_s": cpu.user + cpu.system}

    def wait_answering(self, environment: Mapping[str, str]) -> None:
        """Start it, and return when it has answered."""
        with self.runs(environment):
            self._until(time.perf_counter(), self.is_answering)

    def is_answering(self) -> bool:
        """Whether what it is asked was answered."""
        if self._command == "serve":
            return self._project.ask("GET", "/v2/health/live", headers=self._headers) == 200
        return self._project.infer(self._headers) == 200

    def _is_listening(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._project.port), timeout=1):
            return True
        return False

    def _until(self, started_at: float, holds: Callable[[], bool]) -> float:
        while time.perf_counter() - started_at < GIVE_UP_S:
            if holds():
                return time.perf_counter() - started_at
            time.sleep(_PAUSE_S)
        raise SystemExit(f"The server does not answer; its log: {self._log().read_text('utf-8')}")

    def _log(self) -> Path:
        return self._project.folder / f"{self._command}.log"


def main() -> int:
    """Measure, print and write."""
    given = _arguments()
    sources: dict[str, dict[str, str]] = {"this": {}}
    if given.against:
        sources["other"] = {"PYTHONPATH": str(given.against.resolve())}
    with small_project("Echo", _MODEL) as pooled, small_project("Echo", _MODEL) as alone:
        kinds = {
            "gate": Kind(pooled, "gate"),
            "gate behind IIS": Kind(pooled, "gate", behind_iis=True),
            "serve behind IIS": Kind(alone, "serve", behind_iis=True),
        }
        with Kind(pooled, "pool").runs({}):
            figures = _measured(kinds, sources, given.starts)
    for name, some in figures.items():
        print(f"{name}: {some}")
    if given.output:
        run = {"machine": machine.describe_machine(), "starts": given.starts, "figures": figures}
        given.output.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    return 0


def _measured(
    kinds: Mapping[str, Kind], sources: Mapping[str, Mapping[str, str]], starts: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Every kind with all sources, by turns."""
    contenders = {
        kind if source == "this" else f"{kind}, {source}": (kinds[kind], sources[source])
        for kind in kinds
        for source in sources
    }
    for kind, environment in contenders.values():
        kind.wait_answering(environment)  # the pool is warm then, and the bytecode compiled
    times: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for _ in range(starts):
        for name, (kind, environment) in contenders.items():
            times[name].append(kind.measure(environment))
    return {name: {one: summary([start[one] for start in some]) for one in some[0]} for name, some in times.items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=20, help="of each (20)")
    parser.add_argument("--against", type=Path, metavar="SRC", help="sources to be measured by turns with these")
    parser.add_argument("--output", type=Path, help="a file for the figures, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
