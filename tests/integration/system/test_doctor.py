"""`torchgate doctor` as a person and a program call it: on a fresh project, a broken one, and one that is served."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.rigs.server_process import ServerProcess

from torchgate.cli import main
from torchgate.project import create_project
from torchgate.secret_places import private_files


def doctor(*arguments: str) -> tuple[int, str]:
    """The exit code, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "torchgate", "doctor", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=500,
    )
    return done.returncode, done.stdout.decode("utf-8") + done.stderr.decode("utf-8")


def verdicts(report: dict[str, Any], check: str) -> list[str]:
    return [one["verdict"] for one in report["findings"] if one["check"] == check]


@pytest.mark.torch_start
def test_a_fresh_project_is_ready_and_nothing_is_left_in_it(tmp_path: Path):
    folder = tmp_path / "project with späces"
    create_project(folder)
    before = sorted(folder.rglob("*"))
    code, printed = doctor(str(folder), "--json", "--set", "gate.bind=127.0.0.1:0")
    report = json.loads(printed)
    red = [one for one in report["findings"] if one["verdict"] == "red"]
    assert (code, report["passed"], red) == (0, True, [])
    assert verdicts(report, "torch")[:2] == ["ok", "ok"], "torch was imported, and computed"
    assert sorted(folder.rglob("*")) == before


def test_a_broken_project_is_told_all_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A file in place of the state folder, a taken port, a secret that is not there, keys that are gone."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        (tmp_path / "models").mkdir()
        (tmp_path / "state").write_bytes(b"")
        (tmp_path / "torchgate.toml").write_text(
            f"""
[gate]
bind = "127.0.0.1:{taken.getsockname()[1]}"
[state]
folder = "state"
[secrets]
pepper = "file:pepper"
[[identity.oidc]]
name = "away"
issuer = "https://away.example"
audience = ["here"]
jwks_file = "keys.json"
""",
            encoding="utf-8",
        )
        areas = ("--area", "project", "--area", "network")
        assert main(["doctor", str(tmp_path), "--json", *areas]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is False
    assert {one["check"] for one in report["findings"] if one["verdict"] == "red"} >= {
        "secrets",
        "audit",
        "state",
        "port",
        "issuers",
    }
    assert {one["area"] for one in report["findings"]} == {"project", "network"}


def test_a_report_goes_into_a_file_where_nobody_watches(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "torchgate.toml").write_text('[secrets]\npepper = "file:pepper"\n', encoding="utf-8")
    private_files().write_new(tmp_path / "pepper", b"hunter2")
    out = tmp_path / "report ü.txt"
    main(["doctor", str(tmp_path), "--area", "project", "--all", "--out", str(out)])
    text = out.read_text(encoding="utf-8")
    assert "pepper can be read" in text
    assert "hunter2" not in text
    assert text.splitlines()[-1] in capsys.readouterr().out
    assert main(["doctor", str(tmp_path), "--area", "project", "--out", str(tmp_path / "nowhere" / "x")]) == 1
    assert "can't be written" in capsys.readouterr().err
    assert main(["doctor", str(tmp_path), "--area", "project", "--json", "--out", str(out)]) in {0, 1}, "it is replaced"
    settings = tmp_path / "torchgate.toml"
    assert main(["doctor", str(tmp_path), "--area", "project", "--out", str(settings)]) == 1
    assert "is no report of doctor" in capsys.readouterr().err
    assert "[secrets]" in settings.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "settings", ["[gate\n", "\x00", "[gate]\nnonsense = 1\n", None], ids=["TOML", "NUL", "a name", "none"]
)
def test_settings_that_cannot_be_read_are_a_finding_whatever_is_asked_for(
    settings: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    if settings is not None:
        (tmp_path / "torchgate.toml").write_text(settings, encoding="utf-8")
    assert main(["doctor", str(tmp_path), "--json", "--area", "iis"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert "red" in verdicts(report, "configuration")
    assert verdicts(report, "module") == ["skipped"]


def test_an_area_that_does_not_exist_is_named_with_those_that_do(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert main(["doctor", str(tmp_path), "--area", "gpu"]) == 2
    assert "there is no area 'gpu'; there are project, python, torch" in capsys.readouterr().err


@pytest.mark.torch_start
def test_a_project_that_is_served_is_whole(torchgate_server: ServerProcess, capsys: pytest.CaptureFixture[str]):
    """Its port is its own, its trail and its state are closed to others, and reading them disturbs nobody."""
    port = f"gate.bind=127.0.0.1:{torchgate_server.port}"
    arguments = ["--area", "project", "--area", "network", "--json", "--set", port]
    assert main(["doctor", str(torchgate_server.folder), *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(verdicts(report, "audit")) == {"ok"}
    assert verdicts(report, "port") == ["ok"]
    assert main(["audit", "verify", str(torchgate_server.folder)]) == 0
