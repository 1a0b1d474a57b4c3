"""`torchgate serve` as IIS's module starts it: where it listens, whom it answers, how it ends, when it refuses."""

from __future__ import annotations

import http.client
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
WAIT_S = 60.0


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
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
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
