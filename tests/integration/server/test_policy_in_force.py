"""`torchgate serve` and `torchgate gate` take a changed policy while they run, and say which is in force."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.rigs.http_connection import Answer, HttpConnection
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.server_process import ServerProcess

from torchgate.cli import main

RULES = """
[policy]
reload_interval_s = 0

[[policy.grants]]
roles = ["asker"]
actions = ["admin", "metrics"]
"""


async def ask(server: ServerProcess, key: str, method: str, path: str) -> Answer:
    """One request on a connection of its own."""
    connection = HttpConnection(server.port)
    try:
        return await connection.request(method, path, {"X-API-Key": key})
    finally:
        await connection.close()


async def shows_amber(server: ServerProcess, key: str, version: str) -> None:
    """The metrics have the version and that something is wrong."""
    metrics = (await ask(server, key, "GET", "/metrics")).body.decode()
    assert f'torchgate_policy_info{{version="{version}"}} 1.0' in metrics
    assert "torchgate_policy_troubles 1.0" in metrics
    assert 'torchgate_policy_reloads_total{result="refused"} 1.0' in metrics


@pytest.mark.parametrize("command", ["serve", "gate"])
async def test_a_running_server_changes_its_policy(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").mkdir()
    project = KeyedProject.write(tmp_path, {}, ("k", "other"), RULES)
    path, key = tmp_path / "torchgate.toml", project.keys["k"]
    with ServerProcess.start(tmp_path, command=command) as server:
        before = (await ask(server, key, "GET", "/v2/policy")).json()
        assert before["is_amber"] is False
        path.write_text(path.read_text(encoding="utf-8").replace('["key:k", "key:other"]', '["key:k"]'), "utf-8")
        reload = ["policy", "reload", "--config", str(tmp_path), "--key", key]
        assert await asyncio.to_thread(main, reload) == 0
        after = (await ask(server, key, "GET", "/v2/policy")).json()
        assert after["version"] != before["version"]
        assert after["version"] in capsys.readouterr().out
        assert (await ask(server, project.keys["other"], "GET", "/metrics")).status == 403
        path.write_text("[", encoding="utf-8")
        assert await asyncio.to_thread(main, [*reload, "--url", server.url]) == 1
        assert "is not TOML" in capsys.readouterr().err
        status = ["policy", "status", "--config", str(tmp_path), "--key", key]
        assert await asyncio.to_thread(main, status) == 1  # the server is asked, although its file is none now
        said = capsys.readouterr()
        assert after["version"] in said.out, "what is in force"
        assert "torchgate.toml:1: error: is not TOML" in said.err
        assert "AMBER" in said.err
        if command == "serve":  # a gate without its pool can't say what the pool counts, and so nothing
            await shows_amber(server, key, after["version"])
    changes = [event for event in server.audit_events() if event["class_uid"] == 3004]
    assert [(event["status"], event["entity"]["version"], event["entity_result"]["version"]) for event in changes] == [
        ("Success", before["version"], after["version"]),
        ("Failure", after["version"], after["version"]),
    ]
    assert json.dumps(changes).count("key:k") >= 2
