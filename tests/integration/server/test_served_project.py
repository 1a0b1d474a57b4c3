"""A project of `init`, served by a real process and asked as its users do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.rigs.http_connection import Answer, HttpConnection
from tests.rigs.server_process import ServerProcess

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(1200)]

BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [1.5, -4]}]}).encode()
INFER = "/v2/models/doubler/infer"


def command(server: ServerProcess, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `torchgate` against the server's project."""
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "torchgate", *arguments, "--config", str(server.folder)],
        capture_output=True,
        encoding="utf-8",
        input=stdin,
        check=False,
        timeout=400,
    )


async def ask(
    server: ServerProcess,
    path: str,
    *,
    name: str = "",
    method: str = "POST",
    body: bytes = BODY,
    headers: Mapping[str, str] = {},
) -> Answer:
    credential = {"Authorization": f"Bearer {server.token(name)}"} if name else {}
    connection = HttpConnection(server.port)
    try:
        return await connection.request(method, path, {**credential, **headers}, body)
    finally:
        await connection.close()


def events_of(server: ServerProcess, client_request_id: str) -> list[dict[str, Any]]:
    """The audit events of requests that called themselves so."""
    return [event for event in server.audit_events() if client_request_id in json.dumps(event)]


async def test_an_analyst_is_answered_and_the_audit_has_it(torchgate_server: ServerProcess):
    mark = uuid.uuid4().hex
    answer = await ask(torchgate_server, INFER, name="analyst", headers={"X-Request-ID": mark})
    assert answer.status == 200
    assert answer.json()["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [2, 1], "data": [3.0, -8.0]}]
    (event,) = events_of(torchgate_server, mark)
    assert event["actor"]["user"]["uid"] == "development:analyst"
    assert event["authorizations"][0]["policy"]["name"] == "policy.grants[0]"
    assert torchgate_server.token("analyst") not in json.dumps(torchgate_server.audit_events())


async def test_nobody_is_401_and_the_audit_has_it(torchgate_server: ServerProcess):
    mark = uuid.uuid4().hex
    answer = await ask(torchgate_server, INFER, headers={"X-Request-ID": mark})
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "no_credential"
    assert len(events_of(torchgate_server, mark)) == 1


async def test_a_guest_is_403_and_the_audit_names_the_rule(torchgate_server: ServerProcess):
    mark = uuid.uuid4().hex
    answer = await ask(torchgate_server, INFER, name="guest", headers={"X-Request-ID": mark})
    unknown = await ask(torchgate_server, "/v2/models/none/infer", name="guest")
    assert answer.status == unknown.status == 403
    assert answer.json()["error"] == unknown.json()["error"]
    assert "default deny" not in answer.body.decode()
    (event,) = events_of(torchgate_server, mark)
    assert event["authorizations"][0]["policy"]["name"] == "default deny"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "10.0.0.1"},
        {"Forwarded": "for=10.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_a_development_identity_is_refused_from_elsewhere(
    torchgate_server: ServerProcess, headers: dict[str, str]
):
    """A proxy, or a page of a stranger in the developer's browser, brings the developer's own token."""
    answer = await ask(torchgate_server, INFER, name="analyst", headers=headers)
    assert answer.status in {400, 403}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"inputs": 3}', b'{"inputs": []}', b"[" * 100_000, b"\xff\x00\xfe", b"NaN",
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2,1],"data":[1]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[-1,1],"data":[1]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[4611686018427387904,4],"data":[1]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP99","shape":[1,1],"data":[1]}]}',
        b'{"inputs":[{"name":"z","datatype":"FP32","shape":[1,1],"data":[1]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":["text"]}]}',
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1e999]}]}',
    ],
)  # fmt: skip
async def test_garbage_is_the_callers_mistake(torchgate_server: ServerProcess, body: bytes):
    """Never a 500, never a traceback, and the server goes on."""
    answer = await ask(torchgate_server, INFER, name="analyst", body=body)
    assert 400 <= answer.status < 500
    assert set(answer.json()) >= {"error", "code", "request_id"}
    assert "Traceback" not in answer.body.decode()


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 50 + b"x: y\r\n\r\n"]
)
async def test_what_is_no_http_gets_no_answer_of_ours(torchgate_server: ServerProcess, garbage: bytes):
    """TLS on a plain port, a version from nowhere, lines without a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", torchgate_server.port)
    writer.write(garbage)
    writer.write_eof()
    reply = await reader.read()
    writer.close()
    assert b" 500 " not in reply
    assert b"Traceback" not in reply
    assert (await ask(torchgate_server, "/v2/health/live", method="GET", body=b"")).status == 200


def test_predict_prints_the_answer(torchgate_server: ServerProcess):
    result = command(torchgate_server, "predict", "doubler", "--as", "analyst", "x=[1, 2.5]")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {"y": [[2.0], [5.0]]}


def test_predict_reads_stdin_and_prints_the_raw_answer(torchgate_server: ServerProcess):
    short = command(torchgate_server, "predict", "doubler", "--as", "analyst", stdin='{"x": [[3]]}')
    whole = command(torchgate_server, "predict", "doubler:1", "--as", "analyst", "--raw", stdin=BODY.decode())
    assert json.loads(short.stdout) == {"y": [[6.0]]}
    assert json.loads(whole.stdout)["model_version"] == "1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("doubler", "--as", "guest", "x=[1]"), "403"),
        (("doubler", "x=[1]"), "401"),
        (("doubler", "--as", "analyst", "z=[1]"), "no input 'z'"),
        (("doubler", "--as", "analyst", 'x=["a"]'), "400"),
        (("doubler", "--as", "nobody", "x=[1]"), "analyst, guest"),
        (("doubler", "--token", "tgdev_" + "a" * 43, "x=[1]"), "401"),
    ],
)
def test_predict_says_why_not(torchgate_server: ServerProcess, arguments: tuple[str, ...], said: str):
    result = command(torchgate_server, "predict", *arguments)
    assert result.returncode == 1
    assert said in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_models_status_shows_the_state(torchgate_server: ServerProcess):
    result = command(torchgate_server, "models", "status", "--as", "analyst")
    assert (result.returncode, result.stdout.split()[:2]) == (0, ["doubler:1", "ready"])
    refused = command(torchgate_server, "models", "status")
    assert refused.returncode == 1


def test_audit_tail_shows_people_who_did_what(torchgate_server: ServerProcess):
    command(torchgate_server, "predict", "doubler", "--as", "guest", "x=[1]")
    result = command(torchgate_server, "audit", "tail", "--count", "500")
    assert result.returncode == 0
    assert "development:guest" in result.stdout
    assert "default deny" in result.stdout
    assert "model doubler:1" in result.stdout
    assert "ready" in result.stdout
    lines = command(torchgate_server, "audit", "tail", "--json", "-n", "3").stdout.splitlines()
    assert [json.loads(line)["metadata"]["product"]["name"] for line in lines] == ["torchgate"] * 3


def test_the_running_trail_is_whole(torchgate_server: ServerProcess):
    result = command(torchgate_server, "audit", "verify")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "whole" in result.stdout


def test_a_server_says_loudly_that_its_identities_are_made_up(torchgate_server: ServerProcess):
    output = torchgate_server.output()
    assert "DEVELOPMENT IDENTITIES ARE ENABLED" in output
    assert str(Path(".torchgate") / "development" / "analyst.token") in output
    assert torchgate_server.token("analyst") not in output


def test_two_servers_share_a_trail(torchgate_server: ServerProcess, tmp_path: Path):
    """An overlapping recycle: the second has its own tokens and chain, and leaves the first one serving."""
    first_token = torchgate_server.token("analyst")
    empty = tmp_path
    mine = torchgate_server.folder / ".torchgate"
    server_file = (mine / "server.json").read_bytes()
    settings = (f"state.folder={mine.parent / 'second'}", f"audit.folder={mine / 'audit'}", f"models.folder={empty}")
    with ServerProcess.start(
        torchgate_server.folder, *(f for setting in settings for f in ("--set", setting))
    ) as second:
        assert second.port != torchgate_server.port
        assert second.get("/v2/health/live") == 200
    assert (mine / "server.json").read_bytes() == server_file
    assert torchgate_server.token("analyst") == first_token
    assert torchgate_server.get("/v2/health/ready") == 200
    assert command(torchgate_server, "audit", "verify").returncode == 0
