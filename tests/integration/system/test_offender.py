"""A caller whose request kills a worker, as it, its neighbour, the operator and the auditor see it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.rigs.engine_questions import DIES, HANGS, MODELS
from tests.rigs.http_connection import Answer, HttpConnection
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.server_process import ServerProcess

INFER = "/v2/models/owner/infer"
SETTINGS = """
[engine]
circuit_offences = 1
circuit_pause_s = 10.0
"""


@pytest.fixture
def project(tmp_path: Path) -> KeyedProject:
    """The owner model; a circuit opens at the first offence."""
    owner = MODELS / "owner"
    files = tuple((owner / name).read_text(encoding="utf-8") for name in ("model.toml", "1/model.py"))
    folder = tmp_path / "Täter, with a space"
    folder.mkdir()
    return KeyedProject.write(folder, {"owner": (files[0], files[1])}, ("eve", "ada"), SETTINGS)


def numbers(*values: int) -> bytes:
    """A question."""
    tensor = {"name": "number", "datatype": "INT64", "shape": [len(values), 1], "data": values}
    return json.dumps({"inputs": [tensor]}).encode()


class Caller:
    """Asks as one principal, each time on a connection of its own."""

    def __init__(self, server: ServerProcess, project: KeyedProject, name: str) -> None:
        self._port = server.port
        self._headers = {"X-API-Key": project.keys[name]}

    async def ask(self, path: str, body: bytes, **headers: str) -> Answer:
        connection = HttpConnection(self._port)
        try:
            return await connection.request("POST", path, self._headers | headers, body)
        finally:
            await connection.close()

    async def ask_until(self, status: int, path: str, body: bytes) -> Answer:
        """Ask again and again, with a breath between, until the answer has this status."""
        async with asyncio.timeout(240):
            while (answer := await self.ask(path, body)).status != status:
                assert answer.status == 429
                await asyncio.sleep(0.1)
        return answer


@pytest.mark.torch_start
@pytest.mark.timeout(900)
async def test_who_kills_a_worker_is_refused_for_a_while_and_nobody_else_is(project: KeyedProject) -> None:
    with ServerProcess.start(project.folder) as server:
        server.wait_ready()
        eve, ada = Caller(server, project, "eve"), Caller(server, project, "ada")

        died = await eve.ask(INFER, numbers(DIES))
        assert (died.status, died.json()["code"]) == (500, "worker_died")
        refused = await eve.ask(INFER, numbers(1))
        assert (refused.status, refused.json()["code"]) == (429, "circuit_open")
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        index = await ada.ask("/v2/repository/index", b"")
        assert [entry["open_circuits"] for entry in index.json()] == [1]
        assert (await ada.ask(INFER, numbers(2))).status == 200
        assert (await eve.ask_until(200, INFER, numbers(3))).json()["outputs"][0]["data"] == [7]
        assert "open_circuits" not in (await ada.ask("/v2/repository/index", b"")).json()[0]

        hanging = asyncio.create_task(ada.ask(INFER, numbers(HANGS), **{"X-Request-ID": "job-7"}))
        async with asyncio.timeout(240):
            while (await ada.ask("/v2/requests/job-7/cancel", b"")).json() != {"cancelled": 1}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert ((await hanging).status, (await hanging).json()["code"]) == (499, "cancelled")

    events = project.audit_events()
    told = [event["message"] for event in events if event["class_uid"] == 6002 and "circuit" in event["message"]]
    assert [("is open" in one, "key:eve" in one) for one in told] == [(True, True), (False, True)]
    statuses = [event["http_response"]["code"] for event in events if event["class_uid"] == 6003]
    assert {429, 499, 500} <= set(statuses)
