"""`torchgate service`, as a person types it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest
from tests.fakes.services import MemoryServices

from torchgate.cli import main
from torchgate.contract.services import ServiceProblem, ServiceSpec
from torchgate.service_commands import install, start, status, stop, uninstall
from torchgate.terminal import WrongUse

IS_WINDOWS = sys.platform == "win32"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a prøject"
    (folder / "models").mkdir(parents=True)
    (folder / "torchgate.toml").write_text("[gate]\ndrain_s = 20\n", encoding="utf-8")
    return folder


def typed(project: Path, **others: object) -> argparse.Namespace:
    values = {"project": project, "set": [], "name": "tg-test", "account": None, "state_folder": None}
    return argparse.Namespace(**{**values, "dry_run": False, "timeout_s": 5.0, "json": False, **others})


def test_it_is_installed_started_asked_stopped_and_taken_away(project: Path, capsys: pytest.CaptureFixture[str]):
    keeper, parsed = MemoryServices(), typed(project, json=True)
    assert install(parsed, keeper) == 0
    assert status(parsed, keeper) == 1, "it does not run yet"
    assert start(parsed, keeper) == 0
    capsys.readouterr()
    assert status(parsed, keeper) == 0
    seen = json.loads(capsys.readouterr().out)
    assert (seen["state"], bool(seen["pid"])) == ("running", True)
    assert stop(parsed, keeper) == 0
    assert uninstall(parsed, keeper) == 0
    assert status(parsed, keeper) == 1
    assert "no such service" in capsys.readouterr().err


@pytest.mark.parametrize("change", [start, stop, uninstall])
def test_nobody_elses_service_is_touched(project: Path, capsys: pytest.CaptureFixture[str], change):
    """A wrong name, e.g. the database's."""
    keeper = MemoryServices()
    others = ServiceSpec("db", "Database", "", command=("/bin/db",), account="db", stop_timeout_s=5.0)
    keeper.install(others)
    assert change(typed(project, name="db"), keeper) == 1
    assert "db is no service of Torchgate: it runs /bin/db" in capsys.readouterr().err
    assert keeper.status("db").state == "stopped"


def test_every_path_is_absolute_and_gates_meet_it_where_the_project_says(project: Path, monkeypatch, capsys):
    monkeypatch.chdir(project.parent)
    keeper = MemoryServices()
    assert install(typed(Path(project.name), state_folder="its own"), keeper) == 0
    command = keeper.status("tg-test").command
    assert str(project / "torchgate.toml") in command
    assert f"state.folder={project.parent / 'its own'}" in command
    assert f"pool.folder={project / '.torchgate'}" in command
    assert command.startswith(getattr(sys, "_base_executable", sys.executable) if IS_WINDOWS else sys.executable)


def test_its_time_to_stop_follows_from_ours(project: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["service", "install", str(project), "--dry-run"]) == 0
    assert ("within 30 s" if IS_WINDOWS else "TimeoutStopSec=30") in capsys.readouterr().out


@pytest.mark.parametrize("name", ["", "two words", "a/b", "1st", "x" * 65, "a\\b", "-x"])
def test_a_name_that_is_none_is_refused(project: Path, name: str):
    keeper = MemoryServices()
    with pytest.raises(WrongUse, match="letters, digits and hyphens"):
        install(typed(project, name=name), keeper)


def test_what_keeps_gates_away_is_said_with_the_line_that_helps(project: Path, capsys: pytest.CaptureFixture[str]):
    assert install(typed(project), MemoryServices()) == 0
    said = capsys.readouterr().err
    assert ("owner = 'NT SERVICE\\tg-test'" if IS_WINDOWS else 'folder = "/run/tg-test"') in said
    lines = "gates = ['IIS AppPool\\models']\nowner = 'NT SERVICE\\tg-test'\n" if IS_WINDOWS else 'folder = "/run/tg"\n'
    (project / "torchgate.toml").write_text(f"[pool]\n{lines}", encoding="utf-8")
    assert install(typed(project), MemoryServices()) == 0
    assert "[pool]" not in capsys.readouterr().err


def test_nothing_is_installed_with_mistakes_or_against_the_systems_will(project: Path, capsys):
    keeper = MemoryServices(refusal="it needs an administrator")
    assert install(typed(project), keeper) == 1
    assert "torchgate: it needs an administrator." in capsys.readouterr().err
    (project / "torchgate.toml").write_text("[pool]\ngates = ['CORP\\someone']\n", encoding="utf-8")
    assert install(typed(project), MemoryServices()) == 1
    assert "nothing was installed" in capsys.readouterr().err


def test_a_project_that_would_not_start_is_not_installed(project: Path, capsys: pytest.CaptureFixture[str]):
    """What only `check` finds, such as a role that nobody has, is told where somebody still looks."""
    quota = "[[quotas]]\nrole = 'nobody'\nconcurrent_requests = 1\n"
    (project / "torchgate.toml").write_text(quota, encoding="utf-8")
    keeper = MemoryServices()
    assert install(typed(project), keeper) == 1
    told = capsys.readouterr().err
    assert "nobody" in told
    assert "nothing was installed" in told
    with pytest.raises(ServiceProblem):
        keeper.status("tg-test")


def test_a_setting_is_told_to_the_service_once(project: Path):
    keeper = MemoryServices()
    parsed = typed(project, set=["state.folder=elsewhere", "gate.drain_s=7"], state_folder="its own")
    assert install(parsed, keeper) == 0
    command = keeper.status("tg-test").command
    assert command.count("state.folder=") == 1
    assert "gate.drain_s=7" in command


@pytest.mark.parametrize("verb", ["start", "stop", "status", "uninstall"])
def test_a_service_that_is_not_there_is_no_crash(verb: str, capsys: pytest.CaptureFixture[str]):
    assert main(["service", verb, "--name", "torchgate-nowhere"]) == 1
    assert capsys.readouterr().err.startswith("torchgate: ")


def test_what_the_system_starts_says_so_to_people(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["service", "host", "--name", "tg-test", "--log-folder", str(tmp_path / "logs"), str(project)]
    assert main(arguments) == 1
    assert "torchgate pool" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()
