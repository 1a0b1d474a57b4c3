"""The rule that nothing is skipped in silence, tried on small suites of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.source_tree import REPOSITORY

SUITE = """
import pytest

{decoration}
def test_something():
    {body}

def test_passes():
    pass
"""


def _run(
    folder: Path, *, decoration: str = "", body: str = "pass", ci: str = "true"
) -> subprocess.CompletedProcess[str]:
    (folder / "test_suite.py").write_text(SUITE.format(decoration=decoration, body=body), encoding="utf-8")
    options = ["-p", "tests.skip_policy", "-p", "no:cacheprovider", "-c", str(REPOSITORY / "pyproject.toml")]
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "pytest", *options, "--rootdir", str(folder), str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "CI": ci, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_a_skip_fails_a_ci_run(tmp_path: Path):
    """And the run says which, and why."""
    result = _run(tmp_path, body='pytest.skip("no network")')
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "test_something: no network" in result.stdout


def test_a_skip_passes_elsewhere(tmp_path: Path):
    """A developer without a GPU or a network still sees the rest."""
    assert _run(tmp_path, body='pytest.skip("no network")', ci="").returncode == pytest.ExitCode.OK


def test_a_skip_with_an_allowed_reason_passes(tmp_path: Path):
    """The prefixes stand in the plugin."""
    assert _run(tmp_path, body='pytest.skip("needs a GPU: of 8 GB")').returncode == pytest.ExitCode.OK


def test_a_test_of_the_other_system_is_left_out(tmp_path: Path):
    """Deselected, not skipped."""
    other = "linux" if sys.platform == "win32" else "windows"
    result = _run(tmp_path, decoration=f'@pytest.mark.{other}("has what the other lacks")', body="raise SystemError")
    assert result.returncode == pytest.ExitCode.OK
    assert "1 deselected" in result.stdout


def test_a_mark_without_a_reason_is_refused(tmp_path: Path):
    """Who reads it must learn what the other system lacks."""
    result = _run(tmp_path, decoration="@pytest.mark.linux")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "needs a reason" in result.stdout + result.stderr
