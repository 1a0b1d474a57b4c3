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
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

import machine
from processes import free_port, started

LOAD_S = 0.1
_QUIET_S = 0.6
_GIVE_UP_S = 90.0
_BODY = json.dumps({"inputs": [{"name": "x", "datatype": "INT64", "shape": [1, 1], "data": [1]}]})

_PROJECT = """\
[gate]
bind = "127.0.0.1:{port}"

[engine]
standbys = {standbys}
restart_budget = 1000

[models]
allow_code = ["slow"]

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
entry = "model.py:Slow"
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
        port, key: where and as whom to ask.
        standbys: that wait when nothing is wrong.
    """

    def __init__(self, root: psutil.Process, port: int, key: str, standbys: int) -> None:
        self._root, self._port, self._key, self._standbys = root, port, key, standbys

    def answered_s(self, *, retries: bool = False) -> float:
        """Seconds until a question is answered with 200."""
        started_at = time.perf_counter()
        while time.perf_counter() - started_at < _GIVE_UP_S:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_GIVE_UP_S)
                headers = {"X-API-Key": self._key, "Content-Type": "application/json"}
                connection.request("POST", "/v2/models/slow/infer", _BODY, headers)
                status = connection.getresponse().status
                connection.close()
                if status == 200:
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
        give_up_at = since + _GIVE_UP_S
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
    figures = {name: _summary_ms(some) for name, some in times.items()}
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
    from torchgate.access.identity.api_key import new_api_key  # late: `--help` needs no Torchgate

    key, port = new_api_key("benchmark"), free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        version = Path(place) / "models" / "slow" / "1"
        version.mkdir(parents=True)
        text = _PROJECT.format(port=port, standbys=standbys, sha256=key.sha256)
        (Path(place) / "torchgate.toml").write_text(text, encoding="utf-8")
        (version.parent / "model.toml").write_text(_MODEL_TOML, encoding="utf-8")
        (version / "model.py").write_text(_MODEL, encoding="utf-8")
        with started([sys.executable, "-m", "torchgate", "serve", place], {}, Path(place) / "log") as tree:
            server = Server(psutil.Process(tree.process.pid), port, key.key, standbys)
            server.answered_s(retries=True)
            yield server


def _summary_ms(seconds: list[float]) -> dict[str, float]:
    figures = {"median": statistics.median(seconds), "least": min(seconds), "most": max(seconds)}
    return {name: round(one * 1e3, 1) for name, one in figures.items()}


if __name__ == "__main__":
    raise SystemExit(main())
