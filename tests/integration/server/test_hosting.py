"""The contract with whoever starts the server: streams that nobody reads, ends at any moment, two at once."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.rigs.hosted_server import PAIRING, SHUTDOWN, WAIT_S, HostedServer, hosted
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.processes import workers_of

from torchgate.patient_output import MAX_WAITING_CHARS
from torchgate.telemetry.audit_verify import verify

MODEL_TOML = """
format = "class"
entry = "model.py:Held"
threads = 1

[[inputs]]
name = "x"
datatype = "INT64"
shape = [1]

[[outputs]]
name = "y"
datatype = "INT64"
shape = [1]

[parameters]
folder = {folder}
"""
MODEL = '''
import time
from pathlib import Path

import torchgate


class Held(torchgate.Model):
    """Says when it loads and when it runs for a caller; that run takes longer than any server waits."""

    def load(self, context):
        self.folder = Path(context.parameters["folder"])
        (self.folder / "loading").touch()

    def predict(self, batch):
        asked = bool(batch.inputs["x"].any())  # the warm-up's are zeros
        if asked:
            (self.folder / "running").touch()
        while asked:
            time.sleep(0.05)
        return {"y": batch.inputs["x"]}
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> KeyedProject:
    """No models, one key."""
    folder = tmp_path_factory.mktemp("hosted here ö")
    (folder / "models").mkdir()
    return KeyedProject.write(folder, {}, ("ops",))


def trail(folder: Path) -> list[bool]:
    """Whether each chain is closed; raises nothing and lacks nothing only where the trail is whole."""
    report = verify(folder / ".torchgate" / "audit")
    assert not report.problems, report.problems
    return [chain.is_closed for chain in report.chains]


def stop(server: HostedServer, path: str = "/iisintegration") -> None:
    assert server.ask("POST", path, SHUTDOWN) == (202, b"")
    assert server.process.wait(WAIT_S) == 0


@pytest.mark.parametrize("front_door", ["ancm", "httpplatform"])
def test_a_sub_application_is_served_below_its_path_and_stops_by_it(project: KeyedProject, front_door: str):
    with hosted(project.folder, front_door, path="/Teams/Models") as server:
        server.wait_listening()
        key = {"X-API-Key": project.keys["ops"]}
        assert server.ask("GET", "/teams/models/whoami", {**key, **PAIRING})[0] == 200
        assert server.ask("GET", "/Teams/Models/v2/health/live", PAIRING)[0] == 200
        assert server.ask("GET", "/Teams/Models/whoami", key) == (400, b"")
        assert server.ask("GET", "/Teams/Modelsx/whoami", {**key, **PAIRING})[0] == 404
        stop(server, "/Teams/Models/iisintegration")


def test_the_older_module_has_no_token_and_no_stop_and_may_kill(project: KeyedProject):
    """HttpPlatformHandler 1.2: there a shutdown that anybody could send must be no shutdown."""
    with hosted(project.folder, "httpplatform-1.2") as server:
        server.wait_listening()
        key = {"X-API-Key": project.keys["ops"]}
        assert server.ask("GET", "/whoami", key)[0] == 200
        assert server.ask("POST", "/iisintegration", {**key, "MS-ASPNETCORE-EVENT": "shutdown"})[0] == 404
        assert server.ask("GET", "/whoami", key)[0] == 200
        server.process.kill()
        server.process.wait(WAIT_S)
    trail(project.folder)


def test_a_pipe_that_nobody_reads_holds_nothing_up(project: KeyedProject):
    """stdout and stderr are one pipe, as the modules have it; much more is written than pipe and server hold."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with hosted(project.folder, streams=streams) as server:
        server.wait_listening()
        padding = {**PAIRING, "X-Request-ID": "r" * 100}
        path = "/v2/models/" + "m" * 20_000
        for _ in range(MAX_WAITING_CHARS // 20_000 + 50):
            assert server.ask("GET", path, padding)[0] in {401, 429}
        assert server.ask("GET", "/v2/health/live", PAIRING)[0] == 200
        stop(server)


@pytest.mark.linux("Python on Windows is told of no stream by handles, which the next test and the stand-in give it")
def test_a_server_whose_streams_are_closed_keeps_their_numbers_free_of_its_files(project: KeyedProject):
    """What a library prints to descriptor 1 must not get into the audit trail."""
    with hosted(project.folder, program=("sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', sys.executable)) as server:
        server.wait_listening()
        assert server.ask("GET", "/v2/health/live", PAIRING)[0] == 200
        numbers = {number: Path(f"/proc/{server.process.pid}/fd/{number}").readlink() for number in (0, 1, 2)}
        assert set(map(str, numbers.values())) == {"/dev/null"}
        stop(server)
    assert trail(project.folder)[-1]


@pytest.mark.windows("pythonw.exe is a program of Windows")
def test_a_server_runs_under_pythonw(project: KeyedProject):
    """Which has no console and no streams at all."""
    without_console = Path(getattr(sys, "_base_executable", sys.executable)).with_name("pythonw.exe")
    with hosted(project.folder, program=(str(without_console),), streams={}) as server:
        server.wait_listening()
        assert server.ask("GET", "/v2/health/live", PAIRING)[0] == 200
        stop(server)


def test_a_server_may_be_killed_at_any_moment_of_its_start(project: KeyedProject):
    """Each time the trail is whole, and the next start is none the worse."""
    with hosted(project.folder) as server:
        started_s = time.perf_counter()
        server.wait_listening()
        server.ask("GET", "/v2/health/live", PAIRING)
        start_s = time.perf_counter() - started_s
    for part in (0.1, 0.7, 0.9, 1.0):
        with hosted(project.folder) as server:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(part * start_s)
            assert server.process.poll() is None
            server.process.kill()
            server.process.wait(WAIT_S)
        trail(project.folder)
    with hosted(project.folder) as server:
        server.wait_listening()
        assert server.ask("GET", "/whoami", {**PAIRING, "X-API-Key": project.keys["ops"]})[0] == 200
        stop(server)
    assert trail(project.folder)[-1]


def test_two_servers_of_one_project_serve_at_once(project: KeyedProject):
    """A recycle with overlap: the new one starts and serves while the former still does, and outlives its stop."""
    with hosted(project.folder) as former, hosted(project.folder) as newer:
        key = {**PAIRING, "X-API-Key": project.keys["ops"]}
        for server in (former, newer):
            server.wait_listening()
            assert server.ask("GET", "/whoami", key)[0] == 200
        stop(former)
        assert server.ask("GET", "/whoami", key)[0] == 200
        stop(newer)
    assert trail(project.folder)[-2:] == [True, True]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> KeyedProject:
    """One model that never answers."""
    folder = tmp_path_factory.mktemp("held")
    return KeyedProject.write(folder, {"held": (MODEL_TOML.format(folder=json.dumps(str(folder))), MODEL)}, ("ada",))


def workers(server: HostedServer) -> list[psutil.Process]:
    return workers_of(server.process.pid)


@contextlib.contextmanager
def asked_in_vain(server: HostedServer, project: KeyedProject) -> Iterator[None]:
    """A request that runs for the block; that its connection breaks is what it is for."""
    body = json.dumps({"inputs": [{"name": "x", "datatype": "INT64", "shape": [1, 1], "data": [1]}]}).encode()
    headers = {**PAIRING, "X-API-Key": project.keys["ada"], "Content-Type": "application/json"}
    other = HostedServer(server.process, server.port)

    def ask() -> None:
        with contextlib.suppress(OSError, EOFError):
            while other.ask("POST", "/v2/models/held/infer", headers, body)[0] == 503:
                time.sleep(0.1)  # it is loading

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield
    finally:
        asker.join(WAIT_S)
        other.disconnect()
        assert not asker.is_alive()


def wait_for(path: Path) -> None:
    """Return when a file is there, which it is no more afterwards."""
    until_s = time.perf_counter() + 4 * WAIT_S
    while not path.exists():
        assert time.perf_counter() < until_s
        time.sleep(0.02)
    path.unlink()


@pytest.mark.torch_start
@pytest.mark.timeout(1200)
def test_a_stop_cuts_what_does_not_end(held: KeyedProject):
    """IIS kills after ten seconds. Killed before, while a model loads, nothing is left over either."""
    with hosted(held.folder) as server:
        server.wait_listening()
        wait_for(held.folder / "loading")
        left = workers(server)
        assert left
        server.process.kill()
        assert psutil.wait_procs(left, timeout=WAIT_S)[1] == []
    with hosted(held.folder) as server:
        server.wait_listening()
        with asked_in_vain(server, held):
            wait_for(held.folder / "running")
            left = workers(server)
            assert server.ask("POST", "/iisintegration", SHUTDOWN) == (202, b"")
            assert server.process.wait(WAIT_S) == 0
        assert psutil.wait_procs(left, timeout=WAIT_S)[1] == []
    assert trail(held.folder) == [False, True]
