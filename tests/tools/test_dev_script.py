"""What `python dev.py` says before it has set anything up."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.architecture.source_tree import REPOSITORY


@pytest.fixture
def dev() -> ModuleType:
    """The script as a module; importing it does nothing."""
    spec = importlib.util.spec_from_file_location("dev_script", REPOSITORY / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "utf8", str(REPOSITORY / "dev.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False)


def test_without_a_command_it_explains_itself(tmp_path: Path):
    """From any folder, with the exit code of a mistake."""
    result = _run(cwd=tmp_path)
    assert result.returncode == 2
    assert "python dev.py demo" in result.stdout


def test_help_is_no_mistake():
    """`--help` exits with 0."""
    assert _run("--help").returncode == 0


def test_an_older_python_is_told_what_is_needed(dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys):
    """Instead of a syntax error or a failing installation."""
    monkeypatch.setattr(dev.sys, "version_info", (3, 9, 1))
    assert dev.main(["demo"]) == 2
    assert "this is Python 3.9; Torchgate needs 3.11" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Temporary failure in name resolution", "check the network"),
        ("[Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for torch", "no build for Python"),
        ("Error: ensurepip is not available", "python3-venv"),
        ("something nobody foresaw", "setup.log"),
    ],
)
def test_a_failed_step_says_what_to_do(dev: ModuleType, output: str, expected: str):
    """Guessed from what pip printed."""
    assert expected in dev.remedy(output)


def test_a_failed_step_shows_its_output(dev: ModuleType, capsys):
    """The end of it, with the exit code."""
    with pytest.raises(dev.Failed, match="exit code 3") as failure:
        dev.step("Trying", [sys.executable, "-c", "import sys; print('the reason'); sys.exit(3)"])
    assert "the reason" in str(failure.value)
    assert "Trying …" in capsys.readouterr().out


def test_what_is_installed_depends_on_the_project_file(dev: ModuleType):
    """Other extras, another fingerprint; the same, the same."""
    assert dev.fingerprint(["demo"]) == dev.fingerprint(["demo"]) != dev.fingerprint(["test"])
