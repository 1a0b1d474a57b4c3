"""`torchgate.wsgi.application` in processes of servers that are not ours, its models in a pool."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.rigs.keyed_project import KeyedProject

from torchgate.telemetry.audit_verify import verify

ROOT = Path(__file__).parents[3]
PROGRAMS = Path(__file__).parent / "programs"
MODELS = ROOT / "tests" / "models" / "owner"
WAIT_S = 240.0


def project(folder: Path) -> KeyedProject:
    """One model, one key, called by WSGI."""
    model = ((MODELS / "model.toml").read_text("utf-8"), (MODELS / "1" / "model.py").read_text("utf-8"))
    written = KeyedProject.write(folder, {"owner": model}, ("ada",))
    file = folder / "torchgate.toml"
    text = file.read_text("utf-8").replace('bind = "127.0.0.1:0"', 'front_door = "fastcgi"')
    file.write_text(text, encoding="utf-8")
    return written


def environment(folder: Path) -> dict[str, str]:
    """Of a server's process."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TORCHGATE_")}
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**inherited, "TORCHGATE_PROJECT": str(folder), "PYTHONPATH": python_path}


@contextmanager
def pool(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Of a project, until the block ends or the test ends it."""
    command = [sys.executable, "-m", "torchgate", "pool", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(WAIT_S)


class WaitressProcess:
    """waitress with our application.

    Args:
        folder: of the project.
    """

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / "wsgi_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(folder),
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def ask(
        self, method: str, path: str, key: str = "", body: object = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            headers = {"X-API-Key": key} if key else {}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def double(self, key: str, number: int) -> tuple[int, object]:
        """Status, and the number that the model made of this one."""
        placed = {"name": "number", "shape": [1, 1], "datatype": "INT64", "data": [number]}
        status, headers, body = self.ask("POST", "/v2/models/owner/infer", key, {"inputs": [placed]})
        return status, json.loads(body)["outputs"][0]["data"][0] if status == 200 else headers["Retry-After"]

    def end(self) -> int:
        """As a server ends that was told to: Python runs to its end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(WAIT_S)
        self.process.stdout.close()
        return code


@contextmanager
def waitress(folder: Path) -> Iterator[WaitressProcess]:
    """A server, ended for sure."""
    if importlib.util.find_spec("waitress") is None:
        pytest.skip("needs waitress: pip install waitress")
    server = WaitressProcess(folder)
    try:
        yield server
    finally:
        server.process.kill()
        server.end()


@pytest.mark.torch_start
@pytest.mark.timeout(900)
@pytest.mark.linux("on Windows test_wfastcgi.py has the same with the server that is used there")
def test_processes_share_the_models_of_one_pool_and_survive_it(tmp_path: Path):
    """Each of four threads gets its own answer; away is 503 at once, and back is back by itself."""
    key = project(tmp_path).keys["ada"]
    with waitress(tmp_path) as first, waitress(tmp_path) as second:
        assert first.double(key, 3) == (503, "2"), "no pool was there yet"
        with pool(tmp_path) as running:
            for server in (first, second):
                assert server.ask("GET", "/warm-up")[0] == 200
            with ThreadPoolExecutor(8) as threads:
                answers = threads.map(lambda number: (first, second)[number % 2].double(key, number), range(40))
                assert list(answers) == [(200, 2 * number + 1) for number in range(40)]
            assert first.ask("GET", "/v2/models/owner")[0] == 401
            assert first.ask("GET", "/v2/models/owner", key)[0] == 200
            running.kill()
            running.wait(WAIT_S)
            assert first.double(key, 3) == (503, "2")
        with pool(tmp_path):
            assert second.ask("GET", "/warm-up")[0] == 200
            assert second.double(key, 4) == (200, 9)
        assert (first.end(), second.end()) == (0, 0)
    audit = tmp_path / ".torchgate" / "audit"
    assert verify(audit).problems == ()
    stops = [path for path in audit.glob("*.jsonl") if b"(wsgi) stops" in path.read_bytes()]
    assert len(stops) == 2


@pytest.mark.linux("on Windows test_wfastcgi.py has two processes at once")
def test_eight_processes_that_begin_at_once_are_eight_gates_with_a_chain_each(tmp_path: Path):
    """The first of them makes the keys; each ends its chain when its interpreter ends."""
    key = project(tmp_path).keys["ada"]
    command = [sys.executable, str(PROGRAMS / "wsgi_calls.py"), key]
    quiet = subprocess.DEVNULL
    started = [
        subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, env=environment(tmp_path))
        for _ in range(8)
    ]
    assert [process.communicate(timeout=WAIT_S)[0].split() for process in started] == [[b"200"] * 3] * 8
    audit = tmp_path / ".torchgate" / "audit"
    chains = list(audit.glob("*.jsonl"))
    assert len(chains) == 8
    assert all(b"(wsgi) stops" in path.read_bytes() for path in chains)
    assert verify(audit).problems == ()
