"""Gate and pool as real processes: each may be killed, and only what it held itself is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.processes import workers_of
from tests.rigs.server_process import ServerProcess

MODELS = Path(__file__).parents[2] / "models" / "owner"

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(900)]


def start_pool(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "torchgate", "pool", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def workers(pool: subprocess.Popen[bytes]) -> set[int]:
    return {one.pid for one in workers_of(pool.pid)}


def double(server: ServerProcess, key: str, number: int) -> int:
    placed = {"name": "number", "shape": [1, 1], "datatype": "INT64", "data": [number]}
    request = urllib.request.Request(
        f"{server.url}/v2/models/owner/infer",
        json.dumps({"inputs": [placed]}).encode(),
        {"X-API-Key": key, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        return int(json.load(answer)["outputs"][0]["data"][0])


def chains(folder: Path) -> int:
    return len(list((folder / ".torchgate" / "audit").glob("*.jsonl")))


def test_each_half_may_be_killed(tmp_path: Path):
    model = ((MODELS / "model.toml").read_text("utf-8"), (MODELS / "1" / "model.py").read_text("utf-8"))
    project = KeyedProject.write(tmp_path, {"owner": model}, ("ada",))
    key = project.keys["ada"]
    pool = start_pool(tmp_path)
    try:
        first = ServerProcess.start(tmp_path, command="gate")
        first.wait_ready()
        assert double(first, key, 20) == 41
        loaded = workers(pool)
        first.kill()
        with (
            ServerProcess.start(tmp_path, command="gate") as second,
            ServerProcess.start(tmp_path, command="gate") as third,
        ):
            for gate in (second, third):
                gate.wait_ready()
                assert double(gate, key, 3) == 7
            assert loaded <= workers(pool), "the weights stay"
            before = chains(tmp_path)
            refused = subprocess.run(
                [sys.executable, "-m", "torchgate", "pool", str(tmp_path)],
                capture_output=True,
                timeout=240,
                check=False,
            )
            assert refused.returncode == 1
            assert b"a pool of this project runs already" in refused.stdout + refused.stderr
            assert chains(tmp_path) == before, "a second pool leaves no trace"
            pool.kill()
            pool.wait(120)
            with pytest.raises(urllib.error.HTTPError) as away:
                double(second, key, 3)
            away.value.close()
            assert (away.value.code, away.value.headers["Retry-After"]) == (503, "2")
            pool = start_pool(tmp_path)
            second.wait_ready()
            assert double(second, key, 4) == 9
    finally:
        pool.terminate()
        pool.wait(120)
