"""A running server takes new secrets up, outlives the loss of their file, and writes their values nowhere."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.rigs.processes import environments_of, workers_of
from tests.rigs.server_process import ServerProcess

from torchgate.project import create_project
from torchgate.secret_places import private_files

CANARIES = ("canary-in-the-file", "canary-rotated-in", "canary-to-come", "canary-of-the-environment")
SETTINGS = """
[secrets]
pairing = "file:ein Geheimnis/pairing ü"
outbound = "env:CANARY_OUTBOUND"

[secret_refresh]
file_interval_s = 1

[telemetry]
log_level = "debug"
log_format = "json"
"""
_WAIT_S = 240.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project ü"
    create_project(folder)
    settings = folder / "torchgate.toml"
    text = settings.read_text(encoding="utf-8").replace(
        'actions = ["infer", "read"]', 'actions = ["infer", "read", "metrics"]'
    )
    settings.write_text(text.replace('["doubler"]\nactions', '["*"]\nactions') + SETTINGS, encoding="utf-8")
    (folder / "ein Geheimnis").mkdir()
    return folder


def write(project: Path, name: str, value: str) -> None:
    """As a careful person does: a private draft that takes the place of the file."""
    draft = project / "ein Geheimnis" / "draft"
    private_files().write_new(draft, f"{value}\n".encode())
    draft.replace(project / "ein Geheimnis" / name)


def until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.perf_counter() + _WAIT_S
    while not condition():
        assert time.perf_counter() < give_up_at, what
        time.sleep(0.05)


def metrics(server: ServerProcess) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {server.token('analyst')}"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return answer.read().decode("utf-8")
    finally:
        connection.close()


def written_in(folder: Path) -> dict[str, bytes]:
    """Every file that the server wrote."""
    return {str(file): file.read_bytes() for file in (folder / ".torchgate").rglob("*") if file.is_file()}


def environments_of_children(server: ServerProcess) -> list[str]:
    return [repr(one) for one in environments_of(workers_of(server.pid))]


def command(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "torchgate", *arguments, str(project)],
        capture_output=True,
        check=False,
        timeout=400,
        env={**os.environ, "CANARY_OUTBOUND": CANARIES[3]},
    )
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def assert_no_canary(texts: dict[str, str | bytes]) -> None:
    for place, text in texts.items():
        shown = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        for canary in CANARIES:
            assert canary not in shown, place


@pytest.mark.torch_start
@pytest.mark.timeout(1200)
def test_a_rotation_and_an_outage_under_way_and_no_value_anywhere(project: Path) -> None:
    write(project, "pairing ü", CANARIES[0])
    with ServerProcess.start(project, environment={"CANARY_OUTBOUND": CANARIES[3]}) as server:
        server.wait_ready()
        environments = environments_of_children(server)
        assert environments, "there is a worker to look at"
        assert "counts after a restart alone" in server.output()
        write(project, "pairing ü.next", CANARIES[2])
        until(lambda: "Secret pairing has changed: current" in server.output(), "the next value is seen")
        write(project, "pairing ü", CANARIES[1])
        until(lambda: server.output().count("Secret pairing has changed") == 2, "the new value is seen")
        (project / "ein Geheimnis" / "pairing ü").unlink()
        until(lambda: "Secret pairing can't be refreshed" in server.output(), "the outage is seen")
        during = metrics(server)
        write(project, "pairing ü", CANARIES[1])
        until(lambda: "Secret pairing can be read again" in server.output(), "the outage is over")
        after = metrics(server)
        output = server.output()
        server.stop()
        files = written_in(project)
    assert 'torchgate_secret_failing{secret="pairing"} 1.0' in during
    assert 'torchgate_secret_values{secret="pairing",state="next"} 1.0' in during
    assert 'torchgate_secret_failing{secret="pairing"} 0.0' in after
    assert any(b"secret pairing" in content for content in files.values()), "the audit trail tells of the change"
    assert_no_canary(
        {
            "output": output,
            "metrics": during + after,
            "environments of workers": "".join(environments),
            "status": command(project, "secrets", "status"),
            "status --json": command(project, "secrets", "status", "--json"),
            "check --explain": command(project, "check", "--explain"),
            **files,
        }
    )


def test_a_server_without_one_of_its_secrets_does_not_start_and_says_which(project: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        ServerProcess.start(project, environment={"CANARY_OUTBOUND": CANARIES[3]})
    printed = str(caught.value)
    assert "secrets.pairing (file:ein Geheimnis" in printed
    assert "does not exist" in printed
    assert "torchgate secrets status" in printed
    assert "Traceback" not in printed
    assert_no_canary({"output": printed})


def test_behind_iis_a_secret_in_the_environment_keeps_the_server_from_starting(project: Path) -> None:
    write(project, "pairing ü", CANARIES[0])
    text = (
        (project / "torchgate.toml")
        .read_text(encoding="utf-8")
        .replace("[development]\nenabled = true", "[development]")
    )
    (project / "torchgate.toml").write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError) as caught:
        ServerProcess.start(project, environment={"CANARY_OUTBOUND": CANARIES[3], "ASPNETCORE_PORT": "1"})
    printed = str(caught.value)
    assert "secrets.outbound: behind IIS a secret can't be in the environment" in printed
    assert_no_canary({"output": printed})
