"""The examples with Torchgate around them, as their readers run them: real servers, real sockets, real models."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.architecture.source_tree import REPOSITORY
from tests.rigs.iis_module.iis import Iis
from tests.rigs.iis_project import render, running_pool
from tests.rigs.server_process import ServerProcess

from torchgate.access.identity.api_key import new_api_key

EXAMPLES = REPOSITORY / "examples"
UVICORN = ("-m", "uvicorn", "app:app", "--no-proxy-headers", "--port")
SERVERS = {
    "uvicorn": (*UVICORN, "0"),
    "hypercorn": ("-m", "hypercorn", "app:app", "--workers", "0", "--bind", "127.0.0.1:0"),
    "our own": ("app.py",),
}

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(900)]


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Of the body."""
        return json.loads(self.body)


def ask(
    server: ServerProcess, path: str, token: str | None = None, body: object = None, headers: Mapping[str, str] = {}
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=240)
    sent = dict(headers)
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    try:
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def copied(folder: Path, *names: str) -> Path:
    """Examples and their project in a folder of the test's own; the project."""
    for name in ("mounted_project", *names):
        shutil.copytree(EXAMPLES / name, folder / name, ignore=shutil.ignore_patterns(".torchgate", "__pycache__"))
    return folder / "mounted_project"


def requests_of(project: Path) -> list[dict[str, Any]]:
    """Audit events of requests."""
    segments = sorted((project / ".torchgate" / "audit").glob("*.jsonl"))
    events = [json.loads(line) for path in segments for line in path.read_bytes().splitlines()]
    return [event for event in events if event["class_uid"] == 6003]


@pytest.fixture(scope="module")
def fastapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The FastAPI example under uvicorn, workers as its children."""
    folder = tmp_path_factory.mktemp("exämples")
    project = copied(folder, "fastapi_app")
    with ServerProcess.start_line(project, SERVERS["uvicorn"], at=folder / "fastapi_app") as server:
        server.wait_ready()
        yield server


def test_a_fastapi_route_asks_a_model_under_its_caller(fastapi: ServerProcess) -> None:
    """Awaited, and on FastAPI's threads."""
    analyst = fastapi.token("analyst")
    assert ask(fastapi, "/double?x=21", analyst).json() == {"y": 42.0}
    assert ask(fastapi, "/double-on-a-thread?x=1.5", analyst).json() == {"y": 3.0}
    assert ask(fastapi, "/report", analyst).status == 200
    assert ask(fastapi, "/me", analyst).json() == {"name": "analyst", "key": "development:analyst"}


def test_a_fastapi_route_is_refused_to_whom_the_policy_refuses_the_model(fastapi: ServerProcess) -> None:
    """The guest is proven, so that what asks for nothing else is open."""
    guest = fastapi.token("guest")
    assert ask(fastapi, "/me", guest).status == 200
    for path in ("/double?x=1", "/double-on-a-thread?x=1", "/report"):
        answer = ask(fastapi, path, guest)
        assert (answer.status, answer.json()["code"]) == (403, "forbidden"), path


def test_only_what_is_named_public_is_open_without_a_credential(fastapi: ServerProcess) -> None:
    """FastAPI's own pages are routes like any other."""
    assert ask(fastapi, "/").status == 200
    for path in ("/me", "/double?x=1", "/docs", "/openapi.json", "/nothing"):
        assert ask(fastapi, path).status == 401, path
    assert ask(fastapi, "/me", "nonsense").status == 401
    assert ask(fastapi, "/openapi.json", fastapi.token("guest")).json()["paths"].keys() >= {"/double", "/report"}


def test_fastapis_own_refusals_stay_its_own(fastapi: ServerProcess) -> None:
    """A query that does not fit, an unknown path."""
    guest = fastapi.token("guest")
    assert ask(fastapi, "/double?x=many", guest).status == 422
    assert ask(fastapi, "/nothing", guest).json() == {"detail": "Not Found"}


def test_protocol_clients_are_served_beside_the_routes(fastapi: ServerProcess) -> None:
    """The same models, under the same policy."""
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [2]}]}
    answer = ask(fastapi, "/v2/models/doubler/infer", fastapi.token("analyst"), body)
    assert answer.json()["outputs"][0]["data"] == [4.0]


def test_every_answer_and_every_question_is_in_the_trail(fastapi: ServerProcess) -> None:
    """Joined by the request's id, whole to `audit verify` while the server runs."""
    answer = ask(fastapi, "/double?x=2", fastapi.token("analyst"))
    refused = ask(fastapi, "/double?x=2", fastapi.token("guest"))
    events = requests_of(fastapi.folder)
    for got, status in ((answer, "200"), (refused, "403")):
        ours = [event for event in events if event["api"]["request"]["uid"].startswith(got.headers["X-Request-ID"])]
        assert [(event["api"]["operation"], event["status_code"]) for event in ours] == [
            ("infer", status), ("GET", status),
        ]  # fmt: skip
        assert ours[0]["resources"][0]["uid"] == "model:doubler:1"
        assert {event["actor"]["user"]["name"] for event in ours} == {"analyst" if status == "200" else "guest"}
    line = [sys.executable, "-m", "torchgate", "audit", "verify", str(fastapi.folder)]
    assert subprocess.run(line, capture_output=True, check=False).returncode == 0


def test_whoever_forwards_to_development_identities_is_refused(fastapi: ServerProcess) -> None:
    """As by our own server."""
    answer = ask(fastapi, "/me", fastapi.token("analyst"), headers={"X-Forwarded-For": "192.0.2.1"})
    assert answer.status == 400


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project of the examples with its pool running."""
    project = copied(tmp_path_factory.mktemp("exämples with a pool"), "starlette_app", "fastapi_app")
    with running_pool(project):
        yield project


@pytest.mark.parametrize("name", SERVERS)
def test_starlette_in_front_of_a_pool_under_any_server(pool: Path, name: str) -> None:
    """Started and stopped beside a pool that keeps its models."""
    extra = {"TORCHGATE_GATE_BIND": "127.0.0.1:0"}
    with ServerProcess.start_line(pool, SERVERS[name], extra, at=pool.parent / "starlette_app") as server:
        server.wait_ready()
        analyst = server.token("analyst")
        assert ask(server, "/double", analyst, [1, 2.5]).json() == [2.0, 5.0]
        assert ask(server, "/me", analyst).json() == {"name": "analyst", "root": ""}
        assert ask(server, "/double", server.token("guest"), [1]).status == 403
        assert ask(server, "/me").status == 401
        broken = ask(server, "/broken", analyst)
        assert (broken.status, broken.json()["code"]) == (500, "internal_error")
        assert b"inside" not in broken.body
        wrong = ask(server, "/double", analyst, ["a"])
        assert (wrong.status, wrong.json()["code"]) == (400, "invalid_request")
        upgrade = {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }  # fmt: skip
        assert ask(server, "/me", headers=upgrade).status in {400, 401}


def _start_by(arguments: str, web_config: Path, app: Path) -> None:
    """As a person changes web.config whose program is started by another server."""
    config = web_config.read_text(encoding="utf-8")
    before = f'arguments="&quot;{app}&quot;"'
    assert before in config
    config = config.replace(before, f'arguments="{arguments.replace(chr(34), "&quot;")}"')
    web_config.write_text(config, encoding="utf-8")


@pytest.mark.parametrize(
    ("door", "arguments"),
    [
        ("ancm", ""),
        ("httpplatform", ""),
        ("httpplatform", '-m uvicorn app:app --app-dir "{folder}" --no-proxy-headers --port %HTTP_PLATFORM_PORT%'),
    ],
)
def test_behind_iis_an_application_is_started_known_and_stopped(pool: Path, door: str, arguments: str) -> None:
    """By its modules' stand-in, from the rendered web.config."""
    name = f"{door} {'uvicorn' if 'uvicorn' in arguments else 'own'}"
    folder = pool.parents[1] / f"site {name}"
    project = copied(folder, "starlette_app")
    key = new_api_key("ann")
    text = (project / "torchgate.toml").read_text(encoding="utf-8").partition("# Tokens for this machine")[0]
    text = text.replace('"direct"', f'"{door}"') + (
        f'[roles]\nanalyst = ["key:ann"]\n[[identity.api_keys]]\nid = "ann"\nsha256 = "{key.sha256}"\n'
        f'[[policy.grants]]\nroles = ["analyst"]\nmodels = ["doubler"]\nactions = ["infer"]\n'
        f"[pool]\nfolder = {json.dumps(str(pool / '.torchgate'))}\n"
    )
    (project / "torchgate.toml").write_text(text, encoding="utf-8")
    app = folder / "starlette_app" / "app.py"
    site = render(project, "--gate", "--script", str(app), application="/Shop")
    if arguments:
        _start_by(arguments.format(folder=app.parent), site / "web.config", app)
    with Iis.started(site, door=door, shutdown_delay_s=0.05) as iis:
        known = {"X-API-Key": key.key}
        answer = iis.ask("POST", "/double", known, b"[4]")
        assert (answer.status, answer.body) == (200, b"[8.0]"), iis.output()
        assert json.loads(iis.ask("GET", "/me", known).body) == {"name": "ann", "root": "/Shop"}
        assert iis.ask("GET", "/me").status == 401
        assert iis.ask("GET", "/me", {"MS-ASPNETCORE-TOKEN": "guess"}).status == 401
        assert (0, "preload: 200") in iis.worker.log, iis.output()
        old = iis.recycle()
        assert (1006, "answered 202") in old.log, iis.output()
        assert iis.ask("POST", "/double", {**known, "Rig-Client-Address": "203.0.113.9"}, b"[1]").status == 200
    events = requests_of(project)
    assert "203.0.113.9" in {event["src_endpoint"]["ip"] for event in events}
    assert {event["unmapped"]["front_door"] for event in events} == {door}
