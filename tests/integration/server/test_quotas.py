"""Quotas of a served project, as those who flood, their neighbours and the operator see them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.rigs.engine_questions import MODELS
from tests.rigs.http_connection import Answer, HttpConnection
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.server_process import ServerProcess

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(1200)]

INFER = "/v2/models/owner/infer"
QUOTAS = """
[[quotas]]
role = "asker"
requests_per_minute = 1
burst_s = 360

[[quotas]]
name = "rows"
model = "owner"
rows_per_minute = 10
compute_seconds_per_minute = 30

[[policy.grants]]
roles = ["operator"]
actions = ["metrics"]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> KeyedProject:
    """The owner model, and askers with six requests a minute each; `ops` may see metrics, too."""
    folder: Path = tmp_path_factory.mktemp("quotas")
    source = MODELS / "owner"
    texts = [(source / name).read_text(encoding="utf-8") for name in ("model.toml", "1/model.py")]
    project = KeyedProject.write(
        folder, {"owner": (texts[0], texts[1])}, ("flood", "calm", "rows", "triton", "ops"), QUOTAS
    )
    file = folder / "torchgate.toml"
    text = file.read_text(encoding="utf-8").replace("[roles]\n", '[roles]\noperator = ["key:ops"]\n')
    file.write_text(text, encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def server(project: KeyedProject) -> Iterator[ServerProcess]:
    """The project, served."""
    with ServerProcess.start(project.folder) as server:
        server.wait_ready()
        yield server


async def ask(server: ServerProcess, key: str, method: str, path: str, rows: int = 0) -> Answer:
    """One request on a connection of its own; a body where there are rows."""
    tensor = {"name": "number", "datatype": "INT64", "shape": [rows, 1], "data": list(range(rows))}
    body = json.dumps({"inputs": [tensor]}).encode() if rows else b""
    connection = HttpConnection(server.port)
    try:
        return await connection.request(method, path, {"X-API-Key": key}, body)
    finally:
        await connection.close()


async def test_who_floods_gets_429_and_its_neighbour_nothing_of_it(project: KeyedProject, server: ServerProcess):
    flood, calm = project.keys["flood"], project.keys["calm"]
    answers = [await ask(server, flood, "POST", INFER, 1) for _ in range(20)]
    statuses = [answer.status for answer in answers]
    assert statuses[:6] == [200] * 6
    assert statuses.count(429) >= 13  # one comes back each minute
    refused = answers[-1]
    assert refused.json()["code"] == "quota_exceeded"
    assert "Quota 'role asker' has no room for this request" in refused.json()["error"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert [(await ask(server, calm, "POST", INFER, 1)).status for _ in range(3)] == [200] * 3
    codes = [event.get("status_detail") for event in project.audit_events()]
    assert codes.count("quota_exceeded") == statuses.count(429)


async def test_rows_that_never_fit_are_413_and_those_that_do_not_fit_now_429(
    project: KeyedProject, server: ServerProcess
):
    key = project.keys["rows"]
    answers = [await ask(server, key, "POST", INFER, rows) for rows in (11, 10, 10)]
    assert [answer.status for answer in answers] == [413, 200, 429]
    assert "Quota 'rows' of model 'owner' never has room for more than 10 at once" in answers[0].json()["error"]
    assert "rows are used and this request needs 10" in answers[2].json()["error"]


async def test_use_is_shown_to_each_its_own_and_to_the_operator_everybodys(
    project: KeyedProject, server: ServerProcess
):
    calm, ops = project.keys["calm"], project.keys["ops"]
    own: list[dict[str, Any]] = (await ask(server, calm, "GET", "/v2/quotas")).json()["quotas"]
    assert {use["holder"] for use in own} == {"key:calm"}
    assert [(use["quota"], use["unit"], use["limit"]) for use in own] == [
        ("role asker", "requests_per_minute", 1),
        ("rows", "rows_per_minute", 10),
        ("rows", "compute_seconds_per_minute", 30),
    ]
    assert (await ask(server, calm, "GET", "/v2/quotas/all")).status == 403
    every = (await ask(server, ops, "GET", "/v2/quotas/all")).json()["quotas"]
    assert "key:flood" in {use["holder"] for use in every}
    metrics = (await ask(server, ops, "GET", "/metrics")).body.decode()
    assert 'torchgate_quota_refusals_total{quota="role asker",unit="requests_per_minute"}' in metrics
    assert "key:flood" not in metrics


def test_models_status_shows_the_callers_own_use(project: KeyedProject, server: ServerProcess):
    status = [
        sys.executable, "-X", "utf8", "-m", "torchgate", "models", "status", "--url", server.url,
        "--key", project.keys["calm"],
        "--config", str(project.folder),
    ]  # fmt: skip
    shown = subprocess.run(status, capture_output=True, encoding="utf-8", check=True, timeout=400).stdout
    assert "of 6 requests_per_minute" in shown
    shown = subprocess.run([*status, "--json"], capture_output=True, encoding="utf-8", check=True, timeout=400).stdout
    units = {"requests_per_minute", "rows_per_minute", "compute_seconds_per_minute"}
    assert {use["unit"] for use in json.loads(shown)["quotas"]} == units


TRITON = """
import sys
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
given = triton.InferInput("number", [1, 1], "INT64")
given.set_data_from_numpy(np.ones((1, 1), np.int64))
for _ in range(12):
    try:
        client.infer("owner", [given], headers={"X-API-Key": sys.argv[2]})
    except InferenceServerException as error:
        print(error.status(), error.message())
        break
"""


def test_tritonclient_hears_429_and_the_quotas_name(project: KeyedProject, server: ServerProcess):
    command = [sys.executable, "-c", TRITON, f"127.0.0.1:{server.port}", project.keys["triton"]]
    heard = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=400).stdout
    assert heard.startswith("429 ")
    assert "Quota 'role asker'" in heard
