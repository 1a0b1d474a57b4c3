"""The rooms know only whom they may know; the rules stand in .importlinter."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.source_tree import PACKAGE, REPOSITORY

PLANTED = {
    "engine/planted.py": "import torch\n",
    "gate/planted.py": "from torchgate.worker import loop\n",
    "access/policy/planted.py": "import uvicorn\n",
    "telemetry/planted.py": "import subprocess\n",
    "contract/planted.py": "import torchgate.gate\n",
}


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """The linter over the package in this folder, which comes before the installed one."""
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); from importlinter.cli import lint_imports; "
        f"sys.exit(lint_imports(config_filename={str(REPOSITORY / '.importlinter')!r}, no_cache=True))"
    )
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_the_import_rules_hold():
    """All contracts are kept."""
    result = _lint(PACKAGE.parent)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("file", PLANTED)
def test_the_import_rules_have_teeth(file: str, tmp_path: Path):
    """A planted import breaks them."""
    shutil.copytree(PACKAGE, tmp_path / "torchgate", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "torchgate" / file).write_text(PLANTED[file], encoding="utf-8")
    result = _lint(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "planted" in result.stdout
