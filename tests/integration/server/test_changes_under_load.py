"""A served project is changed while callers never stop asking: not one answer fails or comes from the wrong version."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.rigs.http_connection import HttpConnection
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.marked_model import SETTINGS, Callers, code, golden, write_version
from tests.rigs.server_process import ServerProcess

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(1200)]

MAY_CHANGE = """
[[policy.grants]]
roles = ["asker"]
models = ["*"]
actions = ["load", "unload"]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> KeyedProject:
    folder = tmp_path_factory.mktemp("Änderungen im Betrieb")
    project = KeyedProject.write(folder, {"marked": (SETTINGS, code(1))}, ("ops",), MAY_CHANGE)
    (folder / "models" / "marked" / "1" / "golden.json").write_text(golden(1), encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def server(project: KeyedProject) -> Iterator[ServerProcess]:
    with ServerProcess.start(project.folder) as server:
        server.wait_ready()
        yield server


async def change(server: ServerProcess, project: KeyedProject, path: str) -> tuple[int, dict[str, Any]]:
    """Load or unload; status and answer."""
    connection = HttpConnection(server.port)
    try:
        key = {"X-API-Key": project.keys["ops"]}
        answer = await connection.request("POST", f"/v2/repository/models/{path}", key)
        return answer.status, answer.json()
    finally:
        await connection.close()


async def index(server: ServerProcess, project: KeyedProject) -> dict[str, dict[str, Any]]:
    """By version."""
    connection = HttpConnection(server.port)
    try:
        answer = await connection.request("POST", "/v2/repository/index", {"X-API-Key": project.keys["ops"]})
        return {one["version"]: one for one in json.loads(answer.body)}
    finally:
        await connection.close()


async def test_reloads_a_new_default_a_bad_version_and_a_rollback_fail_nobody(
    server: ServerProcess, project: KeyedProject
):
    model: Path = project.folder / "models" / "marked"
    callers = Callers(server.port, project.keys["ops"], {1})
    callers.start(6)
    await callers.after()
    for mark in (2, 3, 4):
        write_version(model, "1", mark)
        callers.allowed = {mark - 1, mark}
        assert (await change(server, project, "marked/load"))[0] == 200, server.output()
        callers.allowed = {mark}
        await callers.after()

    write_version(model, "2", 20)
    callers.allowed = {4, 20}
    status, answer = await change(server, project, "marked/load")
    assert (status, answer["loaded"], answer["unchanged"], answer["default"]) == (200, ["2"], ["1"], "2")
    callers.allowed = {20}
    await callers.after()

    write_version(model, "3", 30, golden_mark=31)
    status, answer = await change(server, project, "marked/load")
    assert (status, answer["code"]) == (500, "load_failed")
    assert "golden.json" in answer["error"]
    versions = await index(server, project)
    assert {version: one["state"] for version, one in versions.items()} == {
        "1": "READY",
        "2": "READY",
        "3": "UNAVAILABLE",
    }
    assert versions["2"]["default"]
    await callers.after()

    callers.allowed = {4, 20}
    status, answer = await change(server, project, "marked/versions/2/unload")
    assert (status, answer["default"]) == (200, "1")
    callers.allowed = {4}
    await callers.after()
    await callers.stop()
    assert callers.wrong == []
    assert set(callers.answered) == {1, 2, 3, 4, 20}

    events = project.audit_events()
    changes = [event for event in events if "key:ops" in event.get("message", "") and "had marked" in event["message"]]
    assert len(changes) == 5, "each change names whom it was for"
    digests = {event["message"].split("sha256:")[1][:64] for event in changes if "sha256:" in event["message"]}
    assert len(digests) == 4
    answered = json.dumps([event for event in events if "/infer" in json.dumps(event)])
    assert all(digest in answered for digest in digests), "each answer's record has the digest that gave it"


async def test_two_loads_at_once_are_a_conflict_and_the_files_can_be_replaced_meanwhile(
    server: ServerProcess, project: KeyedProject
):
    model: Path = project.folder / "models" / "marked"
    write_version(model, "1", 5)
    first = asyncio.create_task(change(server, project, "marked/versions/1/load"))
    statuses = set()
    while not first.done():
        statuses.add((await change(server, project, "marked/versions/1/load"))[0])
    statuses.add((await first)[0])
    assert statuses == {200, 409}
    write_version(model, "1", 5)  # nobody holds the files
    assert (await change(server, project, "marked/unload"))[0] == 200
    assert (await change(server, project, "absent/load"))[0] == 404


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("load", "marked:1"), 0, "marked:1                         loaded\nmarked without a version means marked:1."),
        (("load", "marked:1"), 0, "marked:1                         unchanged"),
        (("reload", "marked:1"), 0, "marked:1                         loaded"),
        (("load", "marked:9"), 1, "answered 404: Request for unknown model: 'marked' version '9'"),
        (("load", "marked:"), 1, "answered 404"),
        (("load", "../marked"), 2, "'../marked' is a path; `torchgate models list` says what models are called"),
        (("unload", "marked:1"), 0, "marked without a version is not served."),
        (("unload", "absent"), 1, "answered 404: Request for unknown model"),
    ],
)
async def test_the_commands_do_the_same_and_exit_by_what_came_of_it(
    server: ServerProcess, project: KeyedProject, arguments: tuple[str, str], code: int, said: str
):
    command = [sys.executable, "-X", "utf8", "-m", "torchgate", "models", *arguments]
    key = ["--url", server.url, "--key", project.keys["ops"]]
    done = await asyncio.to_thread(
        subprocess.run, [*command, *key], capture_output=True, encoding="utf-8", check=False, timeout=400
    )
    assert said in done.stdout + done.stderr
    assert done.returncode == code
