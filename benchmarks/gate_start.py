"""How long a gate takes from the start of its process to its first answer, its pool warm.

    python benchmarks/gate_start.py               20 starts
    python benchmarks/gate_start.py --starts 5
    python benchmarks/gate_start.py --against ../other/src     by turns with the sources of another checkout

What is asked again and again from the start on is one row of a small model; `listens` is when a connection is first
taken, `answers` when the row is first answered. CPU seconds are the gate's own until then, user and system: on a
machine that others use, too, they are the steadier figure. Needs an environment with Torchgate, torch and psutil:
`python dev.py test` makes one in .venv.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

import machine
from processes import free_port, started

_GIVE_UP_S = 90.0
_PAUSE_S = 0.005
_BODY = json.dumps({"inputs": [{"name": "x", "datatype": "INT64", "shape": [1, 1], "data": [1]}]})

_PROJECT = """\
[gate]
bind = "127.0.0.1:{port}"

[models]
allow_code = ["echo"]

[roles]
caller = ["key:benchmark"]

[[policy.grants]]
roles = ["caller"]
models = ["*"]
actions = ["infer"]

[[identity.api_keys]]
id = "benchmark"
sha256 = "{sha256}"
"""

_MODEL_TOML = """\
format = "class"
entry = "model.py:Echo"
threads = 1

[[inputs]]
name = "x"
datatype = "INT64"
shape = [1]

[[outputs]]
name = "y"
datatype = "INT64"
shape = [1]
"""

_MODEL = """\
import torchgate


class Echo(torchgate.Model):
    def predict(self, batch):
        return {"y": batch.inputs["x"]}
"""


class Project:
    """A project folder with one model, and one caller.

    Args:
        folder: of it.
        port, key: where and as whom its gate is asked.
    """

    def __init__(self, folder: Path, port: int, key: str) -> None:
        self.folder, self.port, self._key = folder, port, key

    @contextlib.contextmanager
    def runs(self, command: str, environment: Mapping[str, str]) -> Iterator[psutil.Process]:
        """`torchgate pool` or `torchgate gate`, for the block."""
        line = [sys.executable, "-m", "torchgate", command, str(self.folder)]
        with started(line, environment, self.folder / f"{command}.log") as tree:
            yield psutil.Process(tree.process.pid)

    def measure(self, environment: Mapping[str, str]) -> dict[str, float]:
        """Start a gate, and end it after its first answer; seconds until it listened and answered, CPU until then."""
        started_at = time.perf_counter()
        with self.runs("gate", environment) as gate:
            listens_s = self._until(started_at, self._is_listening)
            answers_s = self._until(started_at, self._is_answering)
            cpu = gate.cpu_times()
        return {"listens_s": listens_s, "answers_s": answers_s, "cpu_s": cpu.user + cpu.system}

    def wait_warm(self, environment: Mapping[str, str]) -> None:
        """Return when the pool's model answers."""
        with self.runs("gate", environment):
            self._until(time.perf_counter(), self._is_answering)

    def _until(self, started_at: float, holds: object) -> float:
        while time.perf_counter() - started_at < _GIVE_UP_S:
            if callable(holds) and holds():
                return time.perf_counter() - started_at
            time.sleep(_PAUSE_S)
        raise SystemExit(f"The gate does not answer; its log: {(self.folder / 'gate.log').read_text('utf-8')}")

    def _is_listening(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def _is_answering(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_GIVE_UP_S)
        headers = {"X-API-Key": self._key, "Content-Type": "application/json"}
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("POST", "/v2/models/echo/infer", _BODY, headers)
            return connection.getresponse().status == 200
        return False


def main() -> int:
    """Measure, print and write."""
    given = _arguments()
    contenders: dict[str, dict[str, str]] = {"this": {}}
    if given.against:
        contenders["other"] = {"PYTHONPATH": str(given.against.resolve())}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    with _project() as project, project.runs("pool", {}):
        for environment in contenders.values():
            project.wait_warm(environment)  # and their bytecode is compiled
        for _ in range(given.starts):
            for name, environment in contenders.items():
                times[name].append(project.measure(environment))
    figures = {name: _summary(some) for name, some in times.items()}
    for name, some in figures.items():
        print(f"{name}: {some}")
    if given.output:
        run = {"machine": machine.describe_machine(), "starts": given.starts, "figures": figures}
        given.output.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=20, help="of each (20)")
    parser.add_argument("--against", type=Path, metavar="SRC", help="sources to be measured by turns with these")
    parser.add_argument("--output", type=Path, help="a file for the figures, as JSON")
    return parser.parse_args()


@contextlib.contextmanager
def _project() -> Iterator[Project]:
    from torchgate.access.identity.api_key import new_api_key  # late: `--help` needs no Torchgate

    key, port = new_api_key("benchmark"), free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        version = Path(place) / "models" / "echo" / "1"
        version.mkdir(parents=True)
        (Path(place) / "torchgate.toml").write_text(_PROJECT.format(port=port, sha256=key.sha256), encoding="utf-8")
        (version.parent / "model.toml").write_text(_MODEL_TOML, encoding="utf-8")
        (version / "model.py").write_text(_MODEL, encoding="utf-8")
        yield Project(Path(place), port, key.key)


def _summary(starts: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    figures = {}
    for name in starts[0]:
        some = [start[name] for start in starts]
        figures[name] = {
            "median": round(statistics.median(some), 3),
            "least": round(min(some), 3),
            "most": round(max(some), 3),
        }
    return figures


if __name__ == "__main__":
    raise SystemExit(main())
