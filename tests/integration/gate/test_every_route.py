"""Every route and method, asked by nobody, by a liar, and by somebody without the right: one enforcement point.

The attacker looks for the one path that forgot the check (CVE-2026-24206: such a path of another server). So the table
itself is walked, and also methods and spellings of paths that are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rigs.http_connection import Answer, HttpConnection
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.server_process import ServerProcess

from torchgate.access.identity.api_key import new_api_key
from torchgate.contract.decision import Action
from torchgate.gate.route import Route
from torchgate.gate.routes import route_table

OPEN_TO_ALL_KNOWN = {Action.DESCRIBE, Action.IDENTIFY, Action.CANCEL}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
STRANGER = new_api_key("stranger")
STRANGER_SETTINGS = f"""
[[identity.api_keys]]
id = "stranger"
sha256 = "{STRANGER.sha256}"

[identity.refusals]
burst = 10000

[identity.resource]
url = "https://models.example"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> KeyedProject:
    """No models; `k` may do everything that a key may, `stranger` has a key and no role."""
    folder: Path = tmp_path_factory.mktemp("routes")
    (folder / "models").mkdir()
    return KeyedProject.write(folder, {}, ("k",), STRANGER_SETTINGS)


@pytest.fixture(scope="module")
def server(project: KeyedProject) -> Iterator[ServerProcess]:
    """The project, served."""
    with ServerProcess.start(project.folder) as server:
        yield server


def paths(route: Route) -> str:
    """The route's pattern with names in it."""
    names = {"{model}": "some-model", "{version}": "1", "{rest}": "region/x", "{request}": "some-id"}
    path = route.pattern
    for place, name in names.items():
        path = path.replace(place, name)
    return path


async def ask(server: ServerProcess, method: str, path: str, headers: dict[str, str]) -> Answer:
    """One request on a connection of its own."""
    connection = HttpConnection(server.port)
    try:
        await connection.send(method, path, headers, b"{}" if method == "POST" else b"")
        return await connection.receive(has_body=method != "HEAD")
    finally:
        await connection.close()


LIES = {
    "nothing": {},
    "a made-up key": {"X-API-Key": "tg_k_" + "0" * 32 + "_000000"},
    "an unsigned token": {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."},
    "a password": {"Authorization": "Basic cm9vdDpyb290"},
    "a key in the wrong header": {"Authorization": "Bearer tg_k_secret"},
}


@pytest.mark.parametrize("lie", LIES)
async def test_no_route_but_the_public_ones_answers_without_a_proven_caller(server: ServerProcess, lie: str) -> None:
    """401 each time (400 for a scheme that we do not know), and the body says nothing of what is there."""
    for route in route_table().routes:
        answer = await ask(server, route.method, paths(route), LIES[lie])
        where = f"{route.method} {route.pattern}"
        if route.is_public:
            assert answer.status in (200, 503), where
        else:
            assert answer.status in (400, 401), where
            assert set(answer.json()) == {"error", "code", "request_id"}, where
            assert answer.status == 400 or "www-authenticate" in answer.headers, where


async def test_a_caller_without_a_role_gets_nothing_that_needs_one(server: ServerProcess) -> None:
    """A stranger with a good key: 403 wherever an action is asked that not everybody known may do."""
    for route in route_table().routes:
        answer = await ask(server, route.method, paths(route), {"X-API-Key": STRANGER.key})
        if route.is_public or route.action in OPEN_TO_ALL_KNOWN:
            assert answer.status in (200, 501, 503), route.pattern
        else:
            assert answer.status == 403, route.pattern
            assert answer.json()["error"] == "This principal may not do this here.", route.pattern


async def test_a_model_that_exists_not_is_no_news_to_a_stranger(project: KeyedProject, server: ServerProcess) -> None:
    """404 for whom a grant covers the name, the constant 403 for anyone else."""
    path = "/v2/models/nope/infer"
    assert (await ask(server, "POST", path, {"X-API-Key": project.keys["k"]})).status == 404
    assert (await ask(server, "POST", path, {"X-API-Key": STRANGER.key})).status == 403


@pytest.mark.parametrize("method", METHODS)
async def test_other_methods_and_spellings_never_answer(server: ServerProcess, method: str) -> None:
    """The attacker tries each method on each path, and paths that another reader would take for a known one."""
    spellings = ["/v2//models", "/v2/models/../models", "/V2", "/v2/", "/v2/models/a%2Finfer", "/metrics/", "/%76%32/x"]
    for path in [*(paths(route) for route in route_table().routes if not route.is_public), *spellings]:
        answer = await ask(server, method, path, {})
        assert answer.status in (400, 401, 404, 405), f"{method} {path}"


async def test_two_credentials_are_one_too_many(project: KeyedProject, server: ServerProcess) -> None:
    """The attacker adds a credential of its own to one that it was given, in each way that two can be sent."""
    key = project.keys["k"]
    for headers in (
        {"X-API-Key": key, "Authorization": "Bearer abc"},
        {"X-API-Key": key, "x-api-key": STRANGER.key},
        {"X-API-Key": key, "X_API_Key": STRANGER.key},
        {"Authorization": "Bearer a, Bearer b"},
    ):
        answer = await ask(server, "GET", "/whoami", headers)
        assert answer.status == 400, headers
    assert (await ask(server, "GET", "/whoami", {"X-API-Key": key})).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{", b'{"inputs":[]}', b'{"inputs":1}', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000,
        json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2**62, 2**62], "data": []}]}).encode(),
    ],
)  # fmt: skip
async def test_a_malformed_body_is_never_our_fault(project: KeyedProject, server: ServerProcess, body: bytes) -> None:
    """No 500 for a caller's mistake, whatever the body; the model does not exist here, so that 404 comes first."""
    connection = HttpConnection(server.port)
    try:
        headers = {"X-API-Key": project.keys["k"]}
        answer = await connection.request("POST", "/v2/models/nope/infer", headers, body)
    finally:
        await connection.close()
    assert answer.status == 404
