"""The scenarios of IIS's modules through the other front doors: nginx that proves itself, nginx that does not, none."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.rigs.behind_iis import JSON
from tests.rigs.front_ends import free_port, nginx
from tests.rigs.iis_project import gate_of
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.server_process import ServerProcess
from tests.rigs.sleeping_model import INFER, SLOW_MS, begun, question

pytestmark = [
    pytest.mark.linux("nginx; IIS's own doors run on both systems"),
    pytest.mark.torch_start,
    pytest.mark.timeout(900),
]

SECRET = "correct-horse-battery-staple"
PROVEN = """
[gate.proxy]
secret = "nginx"
peers = ["127.0.0.1"]
address_header = "X-Forwarded-For"

[secrets]
nginx = "file:nginx.secret"
"""
FRONT = """
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://127.0.0.1:{gate};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        {more}
    }}
}}
"""


@dataclass
class Front:
    """A gate by its front door."""

    door: str
    project: KeyedProject
    gate: ServerProcess
    port: int

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"", *, port: int = 0
    ) -> tuple[int, bytes]:
        """As ann; past the front end where a port is given."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=240)
        try:
            sent = {"X-API-Key": self.project.keys["ann"], **(headers or {})}
            connection.request(method, path, body or None, sent)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module", params=["direct", "arr", "proxy"])
def front(request: pytest.FixtureRequest, pool: Path) -> Iterator[Front]:
    door = request.param
    project = gate_of(pool.parent / f"gate of {door}", pool, door, extra=PROVEN if door == "proxy" else "")
    secret = project.folder / "nginx.secret"
    secret.write_text(SECRET, encoding="ascii")
    secret.chmod(0o600)
    with ExitStack() as running:
        gate = running.enter_context(ServerProcess.start(project.folder, command="gate"))
        port = gate.port
        if door != "direct":
            port = free_port()
            more = f"proxy_set_header X-Torchgate-Proxy {SECRET};" if door == "proxy" else ""
            servers = FRONT.format(port=port, gate=gate.port, more=more)
            running.enter_context(nginx(pool.parent / f"nginx-{door}", port, servers))
        front = Front(door, project, gate, port)
        give_up_at = time.monotonic() + 240
        while front.ask("GET", "/v2/health/ready")[0] != 200:
            assert time.monotonic() < give_up_at, gate.output()
            time.sleep(0.05)
        yield front


def test_a_caller_is_answered_and_known_by_its_own_address(front: Front) -> None:
    status, body = front.ask("POST", INFER, {**JSON, "X-Forwarded-For": "203.0.113.9"}, question())
    assert status == 200, body
    event = [one for one in front.project.audit_events() if one.get("class_uid") == 6003][-1]
    assert event["actor"]["user"]["uid"] == "key:ann"
    assert event["src_endpoint"]["ip"] == "127.0.0.1", "what the client says of its address counts nowhere"


@pytest.mark.parametrize(
    "header",
    [
        "MS-ASPNETCORE-TOKEN",
        "MS-ASPNETCORE-WINAUTHTOKEN",
        "X-IIS-WindowsAuthToken",
        "X-Remote-User",
        "X-Forwarded-Proto",
    ],
)
def test_what_only_a_module_may_say_is_not_taken_from_a_client(front: Front, header: str) -> None:
    status, body = front.ask("GET", "/whoami", {header: "4"})
    assert (status, json.loads(body)["key"]) == (200, "key:ann")


def test_nobody_can_ask_the_process_to_end(front: Front) -> None:
    assert front.ask("POST", "/iisintegration", {"MS-ASPNETCORE-EVENT": "shutdown"})[0] == 404


def test_who_goes_past_the_front_end_finds_nothing_where_it_proves_itself(front: Front) -> None:
    forged = {"X-Torchgate-Proxy": SECRET[::-1]}
    found = [front.ask("GET", "/whoami", sent, port=front.gate.port)[0] for sent in ({}, forged)]
    assert found == ([400, 400] if front.door == "proxy" else [200, 200])


def test_a_stop_lets_a_slow_request_end(front: Front, pool: Path) -> None:
    """Last of all: the gate is gone after it."""
    with ThreadPoolExecutor(1) as thread:
        with begun(pool / "pool.log"):
            asked = thread.submit(front.ask, "POST", INFER, JSON, question(SLOW_MS))
        front.gate.process.terminate()
        assert asked.result()[0] == 200
    assert front.gate.process.wait(120) == 0
