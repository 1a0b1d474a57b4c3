"""`secrets status` and `secrets protect`, as a person types them: states and remedies, never a value."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from torchgate.cli import main
from torchgate.secret_places import private_files


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project ü"
    folder.mkdir()
    (folder / "torchgate.toml").write_text('[secrets]\npepper = "file:pepper"\n', encoding="utf-8")
    return folder


def status(project: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]]]:
    code = main(["secrets", "status", str(project), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_secret_that_can_be_read_is_ok_with_its_states(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private_files().write_new(project / "pepper", b"hunter1")
    private_files().write_new(project / "pepper.previous", b"hunter0")
    code, (secret,) = status(project, capsys)
    assert (code, secret["state"], list(secret["values"])) == (0, "ok", ["current", "previous"])
    assert secret["refresh_s"] == 10.0
    assert 0 <= secret["values"]["current"]["age_s"] < 100
    assert main(["secrets", "status", str(project)]) == 0
    printed = capsys.readouterr().out
    assert "pepper: ok    file:pepper    read every 10 s" in printed
    assert "hunter" not in printed + json.dumps(secret)


def test_a_secret_that_cannot_be_read_is_told_with_the_remedy(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (secret,) = status(project, capsys)
    assert (code, secret["state"], secret["values"]) == (1, "unreadable", {})
    assert "does not exist. Write the value there" in secret["error"]
    assert main(["secrets", "status", str(project)]) == 1
    assert "UNREADABLE" in capsys.readouterr().out


def test_without_secrets_there_is_nothing_to_say(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "torchgate.toml").write_text("", encoding="utf-8")
    assert status(project, capsys) == (0, [])
    assert main(["secrets", "status", str(project)]) == 0
    assert "There are no secrets" in capsys.readouterr().out


@pytest.mark.parametrize(
    "setting",
    [
        'pepper = "hunter2"',
        'pepper = "hunter2:x"',
        'pepper = ["hunter2"]',
        'pepper = {a = "hunter2"}',
        "pepper = 7234567",
    ],
)
@pytest.mark.parametrize(
    "arguments", [["check"], ["check", "--explain"], ["check", "--json"], ["secrets", "status"], ["serve"]]
)
def test_a_value_in_the_configuration_is_a_mistake_that_nobody_repeats(
    project: Path, setting: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "torchgate.toml").write_text(f"[secrets]\n{setting}\n", encoding="utf-8")
    assert main([*arguments, str(project)]) == 1
    printed = "".join(capsys.readouterr())
    assert "secrets.pepper" in printed
    assert "hunter2" not in printed
    assert "7234567" not in printed


@pytest.mark.parametrize("flag", ["secrets.pepper=hunter2", "hunter2", "secrets=hunter2", "gate.front_door=hunter2x"])
def test_a_value_on_the_command_line_is_not_repeated(
    project: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(project), "--set", flag]) == 2
    printed = "".join(capsys.readouterr())
    if not flag.startswith("gate."):  # not a place for secrets: there the mistake is shown
        assert "hunter2" not in printed


@pytest.mark.linux("elsewhere there is Windows' data protection")
def test_what_this_system_cannot_open_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "torchgate.toml").write_text('[secrets]\npepper = "dpapi:pepper"\n', encoding="utf-8")
    code, (secret,) = status(project, capsys)
    assert code == 1
    assert "exists on Windows alone" in secret["error"]
    assert main(["secrets", "protect", str(project / "pepper")]) == 1


@pytest.mark.windows("its data protection")
def test_a_value_sealed_here_is_read_here_and_nothing_else_is(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "torchgate.toml").write_text('[secrets]\npepper = "dpapi:pepper"\n', encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"hunter1\r\n")))
    assert main(["secrets", "protect", str(project / "pepper")]) == 0
    assert b"hunter1" not in (project / "pepper").read_bytes()
    capsys.readouterr()
    code, (secret,) = status(project, capsys)
    assert (code, list(secret["values"])) == (0, ["current"])
    private_files().write_new(project / "pepper.next", b"hunter2, not sealed")
    code, (secret,) = status(project, capsys)
    assert code == 1
    assert "torchgate secrets protect" in secret["error"]
    assert "hunter" not in json.dumps(secret)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"hunter1\r\n")))
    assert main(["secrets", "protect", str(project / "pepper")]) == 1
