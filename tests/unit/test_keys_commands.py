"""`keys new`, `list` and `revoke`, as a person types them."""

from __future__ import annotations

import hashlib
import json
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from torchgate.cli import main
from torchgate.keys_commands import ending
from torchgate.terminal import WrongUse

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CONFIGURED = "a" * 64


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project ü"
    (folder / "models").mkdir(parents=True)
    (folder / "torchgate.toml").write_text(
        f'# kept\n[roles]\nanalyst = ["key:old"]\n[[identity.api_keys]]\nid = "old"\nsha256 = "{CONFIGURED}"\n',
        encoding="utf-8",
    )
    return folder


def call(capsys: pytest.CaptureFixture[str], project: Path, *arguments: str) -> tuple[int, str, str]:
    code = main(["keys", *arguments, "--config", str(project)])
    said = capsys.readouterr()
    return code, said.out, said.err


def listed(capsys: pytest.CaptureFixture[str], project: Path) -> dict[str, Any]:
    return {row["id"]: row for row in json.loads(call(capsys, project, "list", "--json")[1])}


def test_a_new_key_is_printed_once_and_only_its_hash_is_kept(capsys: pytest.CaptureFixture[str], project: Path):
    code, out, err = call(capsys, project, "new", "ops", "--roles", "analyst", "--expires", "90d", "--name", "Öps")
    key = out.strip()
    assert (code, key in err) == (0, False)
    (kept,) = tomllib.loads((project / "keys.toml").read_text(encoding="utf-8"))["keys"]
    assert kept["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    assert (kept["name"], kept["roles"]) == ("Öps", ["analyst"])
    assert all(key not in path.read_text(encoding="utf-8") for path in project.glob("*.toml"))
    assert (project / "torchgate.toml").read_text(encoding="utf-8").startswith("# kept")


def test_list_shows_the_state_of_each_key(capsys: pytest.CaptureFixture[str], project: Path):
    for arguments in (["fresh"], ["soon", "--expires", "13d"], ["turning"], ["gone"]):
        call(capsys, project, "new", *arguments)
    call(capsys, project, "new", "--rotate", "turning", "--overlap", "1h")
    call(capsys, project, "revoke", "gone")
    states = {name: row["state"] for name, row in listed(capsys, project).items()}
    assert states == {
        "old": "valid", "fresh": "valid", "soon": "expires soon", "turning": "rotating", "gone": "revoked",
    }  # fmt: skip
    assert listed(capsys, project)["old"]["roles"] == ["analyst"]
    assert "turning" in call(capsys, project, "list")[1]


def test_an_expired_key_is_shown_as_such(capsys: pytest.CaptureFixture[str], project: Path):
    (project / "keys.toml").write_text(
        f'[[keys]]\nid = "late"\nsha256 = "{"b" * 64}"\nexpires = 2020-01-01T00:00:00Z\n', encoding="utf-8"
    )
    assert listed(capsys, project)["late"]["state"] == "expired"
    assert "--expires" in call(capsys, project, "new", "--rotate", "late")[2]


def test_a_key_of_torchgate_toml_can_be_revoked_without_touching_it(capsys: pytest.CaptureFixture[str], project: Path):
    before = (project / "torchgate.toml").read_bytes()
    assert call(capsys, project, "revoke", "old")[0] == 0
    assert listed(capsys, project)["old"]["state"] == "revoked"
    assert (project / "torchgate.toml").read_bytes() == before
    assert main(["check", str(project)]) == 0
    assert "revoked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "old"], "stands in torchgate.toml"),
        (["new", "a", "--roles", "analist"], "Did you mean 'analyst'?"),
        (["new", "--rotate", "nobody"], "no key 'nobody'"),
        (["revoke", "nobody"], "no key 'nobody'"),
    ],
)
def test_what_can_not_be_done_is_said_and_changes_nothing(
    capsys: pytest.CaptureFixture[str], project: Path, arguments: list[str], said: str
):
    code, _, err = call(capsys, project, *arguments)
    assert (code, said in err) == (1, True)
    assert not (project / "keys.toml").exists()
    assert not (project / "keys.toml.lock").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no spaces"], "can't be the id"),
        (["a", "--expires", "soon"], "neither a span"),
        (["a", "--expires", "2020-01-01"], "has passed"),
        (["a", "--name", "x\x1b[2J"], "can't be printed"),
        (["a", "--overlap", "3d"], "say --rotate with it"),
        (["a", "--rotate", "--print"], "Leave one out"),
        (["a", "--rotate", "--roles", ""], "Leave --name and --roles out"),
    ],
)
def test_what_no_project_could_do_is_a_wrong_command_line(
    capsys: pytest.CaptureFixture[str], project: Path, arguments: list[str], said: str
):
    code, _, err = call(capsys, project, "new", *arguments)
    assert (code, said in err) == (2, True)
    assert not (project / "keys.toml").exists()


def test_a_bad_file_of_keys_is_left_as_it_is(capsys: pytest.CaptureFixture[str], project: Path):
    (project / "keys.toml").write_text("keys = 5\n", encoding="utf-8")
    assert call(capsys, project, "new", "a")[0] == 1
    assert call(capsys, project, "revoke", "a")[0] == 1
    assert call(capsys, project, "list")[0] == 1
    assert (project / "keys.toml").read_text(encoding="utf-8") == "keys = 5\n"


def test_check_finds_mistakes_in_the_file_of_keys(capsys: pytest.CaptureFixture[str], project: Path):
    (project / "keys.toml").write_text(
        f'[[keys]]\nid = "x"\nsha256 = "{"b" * 64}"\nroles = ["analist"]\n', encoding="utf-8"
    )
    assert main(["check", str(project)]) == 1
    assert "Did you mean 'analyst'?" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("30m", NOW + timedelta(minutes=30)),
        ("12h", NOW + timedelta(hours=12)),
        ("90d", NOW + timedelta(days=90)),
        ("2w", NOW + timedelta(days=14)),
        ("2030-02-01", datetime(2030, 2, 1, tzinfo=UTC)),
        ("2030-02-01T01:00:00+01:00", datetime(2030, 2, 1, tzinfo=UTC)),
    ],
)
def test_an_end_is_a_span_or_a_date(text: str, ends: datetime):
    assert ending(text, NOW) == ends


@pytest.mark.parametrize("text", ["", "0d", "-1d", "1.5d", "d", "1y", "99999w", "2029-12-31", "tomorrow"])
def test_what_is_no_end_is_refused(text: str):
    with pytest.raises(WrongUse):
        ending(text, NOW)
