"""`torchgate serve` as IIS's module starts it: where it listens, whom it answers, how it ends, when it refuses."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping

import pytest
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.server_process import ServerProcess

TOKEN = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
BY_ANCM = {"ASPNETCORE_TOKEN": TOKEN, "ASPNETCORE_APPL_PATH": "/Models", "ASPNETCORE_IIS_HTTPAUTH": "anonymous;"}
PAIRING = {"MS-ASPNETCORE-TOKEN": TOKEN}
WAIT_S = 240.0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> KeyedProject:
    """No models, one key."""
    folder = tmp_path_factory.mktemp("behind IIS")
    (folder / "models").mkdir()
    return KeyedProject.write(folder, {}, ("ops",))


def free_port() -> int:
    """One that nobody has now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def ask(port: int, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    try:
        connection.request(method, path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_server_behind_ancm_listens_where_iis_says_and_stops_when_iis_asks(project: KeyedProject) -> None:
    """Windows has no signal for it: this request is the only clean end."""
    port = free_port()
    environment = {**BY_ANCM, "ASPNETCORE_PORT": str(port)}
    with ServerProcess.start(project.folder, "--set", "gate.front_door=ancm", environment=environment) as server:
        assert server.port == port
        key = {"X-API-Key": project.keys["ops"]}
        stop = {"MS-ASPNETCORE-EVENT": "shutdown", "Host": "elsewhere.example"}
        assert ask(port, "GET", "/models/whoami", key) == (400, b"")
        assert ask(port, "POST", "/models/iisintegration", stop) == (400, b"")
        assert ask(port, "GET", "/models/whoami", {**key, **PAIRING, "X-Forwarded-For": "203.0.113.9:1"})[0] == 200
        assert ask(port, "POST", "/models/iisintegration", {**stop, **PAIRING}) == (202, b"")
        assert server.process.wait(WAIT_S) == 0
    events = [event for event in project.audit_events() if event.get("class_uid") == 6003]
    assert {event["src_endpoint"]["ip"] for event in events} == {"127.0.0.1", "203.0.113.9"}
    assert TOKEN not in server.output() + str(project.audit_events())


def start_on(port: int, project: KeyedProject, *arguments: str) -> subprocess.Popen[bytes]:
    """A gate that nobody waits for; its output is a pipe."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TORCHGATE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "torchgate", "serve", str(project.folder), "--set", "gate.front_door=ancm", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**inherited, **BY_ANCM, "ASPNETCORE_PORT": str(port)},
    )


def first_answer(port: int, process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """What is answered to the first connection that is taken, made as soon as it is."""
    key_free = {**PAIRING, "Connection": "close"}
    while process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            return ask(port, "GET", "/v2/health/live", key_free)
    raise AssertionError("the server ended before it listened")


def test_who_comes_while_the_server_starts_is_answered_when_it_has_started(project: KeyedProject) -> None:
    """Ready is what the port's being there means to IIS: no request that it sends then may fail."""
    port = free_port()
    with start_on(port, project) as process:
        try:
            assert first_answer(port, process)[0] == 200
            stop = {**PAIRING, "MS-ASPNETCORE-EVENT": "shutdown"}
            assert ask(port, "POST", "/iisintegration", stop) == (202, b"")
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()


def test_who_comes_while_a_start_fails_is_told_so_and_the_log_says_why(project: KeyedProject) -> None:
    port = free_port()
    with start_on(port, project, "--set", "gate.drain_s=many") as process:
        try:
            status, body = first_answer(port, process)
            assert (status, json.loads(body)["code"]) == (503, "unavailable")
            assert process.stdout is not None
            assert b"gate.drain_s" in process.stdout.read()
            assert process.wait(WAIT_S) == 2, "its command line is wrong"
            assert b"drain_s" not in body, "the reason is for the operator"
        finally:
            process.kill()


def test_a_port_of_iis_that_is_taken_is_said(project: KeyedProject) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with start_on(port, project) as process:
            try:
                said = process.communicate(timeout=WAIT_S)[0]
            finally:
                process.kill()
        assert process.returncode == 1
        assert f"127.0.0.1:{port} can't be listened on".encode() in said
        assert b"Traceback" not in said


@pytest.mark.parametrize(
    ("front_door", "environment", "remedy"),
    [
        ("direct", {**BY_ANCM, "ASPNETCORE_PORT": "1"}, 'gate.front_door = "ancm"'),
        ("ancm", {}, "ASPNETCORE_TOKEN"),
        ("proxy", {}, "gate.proxy.secret"),
    ],
)
def test_a_door_that_does_not_fit_refuses_to_start_with_the_remedy(
    project: KeyedProject, front_door: str, environment: dict[str, str], remedy: str
) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TORCHGATE_")}
    environment = {**inherited, **environment}
    line = [sys.executable, "-m", "torchgate", "serve", str(project.folder), "--set", f"gate.front_door={front_door}"]
    done = subprocess.run(
        line,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=WAIT_S,
        env={**inherited, **environment},
        check=False,
    )
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode != 0
    assert remedy in said
    assert TOKEN not in said
