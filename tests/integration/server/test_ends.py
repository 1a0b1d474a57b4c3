"""Servers and workers that end in the middle of a request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.rigs.http_connection import HttpConnection
from tests.rigs.processes import kill, left_of, workers_of
from tests.rigs.server_process import ServerProcess

from torchgate.project import create_project
from torchgate.telemetry.audit_verify import verify

MODEL = '''
import time
from pathlib import Path

import torchgate


class Doubler(torchgate.Model):
    """Doubles; a 42 waits until the test lets it go on."""

    def load(self, context):
        self.folder = Path(context.parameters["folder"])

    def predict(self, batch):
        x = batch.inputs["x"]
        if (x == 42).any():
            (self.folder / "running").touch()
            while not (self.folder / "go").exists():
                time.sleep(0.01)
        return {"y": x * 2}
'''

PATIENCE = """[gate]
default_timeout_s = 300
drain_s = 100
"""
INFER = "/v2/models/doubler/infer"
WITHOUT_STDIN = (
    "-c", "import sys; sys.stdin = None\nfrom torchgate.cli import main\nraise SystemExit(main())"
)  # fmt: skip


def body(*numbers: float) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(numbers), 1], "data": numbers}
    return json.dumps({"inputs": [tensor]}).encode()


@contextlib.asynccontextmanager
async def connected(server: ServerProcess) -> AsyncIterator[HttpConnection]:
    connection = HttpConnection(server.port)
    try:
        yield connection
    finally:
        await connection.close()
        await asyncio.sleep(0)  # the loop closes what was aborted


def headers(server: ServerProcess) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.token('analyst')}"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project of `init` whose model can be held in the middle of a run."""
    folder = tmp_path / "held project"
    create_project(folder)
    (folder / "models" / "doubler" / "1" / "model.py").write_text(MODEL, encoding="utf-8")
    gate = folder / "torchgate.toml"
    text = gate.read_text(encoding="utf-8")
    assert "[gate]\n" in text
    gate.write_text(text.replace("[gate]\n", PATIENCE), encoding="utf-8")
    settings = folder / "models" / "doubler" / "model.toml"
    text = settings.read_text(encoding="utf-8") + f"\n[parameters]\nfolder = {json.dumps(str(tmp_path))}\n"
    settings.write_text(text, encoding="utf-8")
    return folder


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds."""
    while not condition():  # noqa: ASYNC110 - another process makes it true
        await asyncio.sleep(0.02)


def trail_is_whole(folder: Path) -> bool:
    command = [sys.executable, "-m", "torchgate", "audit", "verify", str(folder)]
    return subprocess.run(command, capture_output=True, check=False, timeout=400).returncode == 0


@pytest.mark.torch_start
@pytest.mark.timeout(1200)
async def test_a_request_outlives_its_worker_and_the_trail_outlives_the_server(project: Path, tmp_path: Path):
    """The worker is killed in the middle of a run, and later the server with all its workers."""
    with ServerProcess.start(project) as server:
        server.wait_ready()
        async with connected(server) as connection:
            await connection.send("POST", INFER, headers(server), body(42, 1))
            await until((tmp_path / "running").exists)
            for worker in workers_of(server.pid):
                kill(worker)
            (tmp_path / "go").touch()
            answer = await connection.receive()
            assert (answer.status, answer.json()["outputs"][0]["data"]) == (200, [84.0, 2.0])

            (tmp_path / "go").unlink()
            (tmp_path / "running").unlink()
            await connection.send("POST", INFER, headers(server), body(42))
            await until((tmp_path / "running").exists)
            orphans = workers_of(server.pid)
            assert orphans
            server.kill()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await connection.receive()
            assert left_of(orphans) == []
    assert trail_is_whole(project)
    with ServerProcess.start(project, "--set", f"models.folder={tmp_path / 'held project' / 'none'}") as again:
        assert again.get("/v2/health/live") == 200
        assert again.get("/v2", headers(again)) == 200
        assert trail_is_whole(project)
    assert trail_is_whole(project)


@pytest.mark.linux("nobody can ask a process of Windows to stop but its console and, later, the IIS module")
@pytest.mark.torch_start
async def test_a_server_that_is_told_to_stop_finishes_what_runs(project: Path, tmp_path: Path):
    """SIGTERM in the middle of a run: nothing new is taken, the answer comes, the trail is closed, nothing is left."""
    with ServerProcess.start(project) as server:
        server.wait_ready()
        async with connected(server) as connection:
            await connection.send("POST", INFER, headers(server), body(42))
            await until((tmp_path / "running").exists)
            server.process.terminate()
            await until(lambda: server.get("/v2/health/live") != 200)
            (tmp_path / "go").touch()
            answer = await connection.receive()
            assert (answer.status, answer.json()["outputs"][0]["data"]) == (200, [84.0])
            assert await asyncio.to_thread(server.process.wait, 120) == 0
    assert not (project / ".torchgate" / "server.json").exists()
    assert list((project / ".torchgate" / "development").iterdir()) == []
    assert "stops" in server.audit_events()[-1]["message"]
    assert [chain.is_closed for chain in verify(project / ".torchgate" / "audit").chains] == [True]


@pytest.mark.linux("a second signal can't be sent to a process of Windows")
@pytest.mark.torch_start
async def test_the_second_signal_ends_everything_at_once(project: Path, tmp_path: Path):
    """Whoever presses Ctrl+C twice does not want to wait."""
    with ServerProcess.start(project) as server:
        server.wait_ready()
        async with connected(server) as connection:
            await connection.send("POST", INFER, headers(server), body(42))
            await until((tmp_path / "running").exists)
            held = workers_of(server.pid)
            server.process.terminate()
            await until(lambda: server.get("/v2/health/live") != 200)
            server.process.terminate()
            assert await asyncio.to_thread(server.process.wait, 120) == 130
            assert left_of(held) == []
    assert trail_is_whole(project)


def test_a_server_starts_without_standard_input(project: Path, tmp_path: Path):
    """As IIS starts it: sys.stdin is None."""
    empty = tmp_path / "no models"
    empty.mkdir()
    with ServerProcess.start(project, "--set", f"models.folder={empty}", launcher=WITHOUT_STDIN) as server:
        server.wait_ready()
        assert server.get("/v2/models/none", headers(server)) in {403, 404}


def test_a_port_that_is_taken_is_said(project: Path, tmp_path: Path):
    """One sentence, not a traceback, and the state folder names no server."""
    empty = tmp_path / "no models"
    empty.mkdir()
    models = ("--set", f"models.folder={empty}")
    with ServerProcess.start(project, *models) as server:
        with pytest.raises(AssertionError, match=r"can't be listened on") as failure:
            ServerProcess.start(project, *models, "--set", f"gate.bind=127.0.0.1:{server.port}")
        assert "Traceback" not in str(failure.value)
        assert server.get("/v2/health/live") == 200
