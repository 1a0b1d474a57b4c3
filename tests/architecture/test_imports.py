"""Importing the product has no effect, and loads torch nowhere but in the worker."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.source_tree import PACKAGE, sources

import torchgate

WATCH = Path(__file__).with_name("import_watch.py")


def _import(names: list[str], folder: Path = PACKAGE.parent) -> dict[str, list[str]]:
    command = [sys.executable, "-B", "-X", "utf8", "-W", "ignore", str(WATCH), str(folder), *names]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    answer: dict[str, list[str]] = json.loads(result.stdout)
    return answer


def _modules() -> list[str]:
    """All but the worker and its root, which know torch, and what runs when it is imported by design."""
    names = (file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in sources())
    return [
        f"torchgate.{name}"
        for name in names
        if name not in {"__init__", "__main__", "worker_app"} and name.split(".")[0] != "worker"
    ]


def test_importing_torchgate_does_nothing():
    """No environment read, no file written, no thread, no socket, no torch, no HTTP."""
    answer = _import(["torchgate"])
    assert answer["seen"] == []
    assert not {"torch", "uvicorn", "pydantic", "cryptography"} & set(answer["modules"])


def test_importing_every_room_does_nothing_and_loads_no_torch():
    """Both operating systems' rooms import on either."""
    answer = _import(_modules())
    assert answer["seen"] == []
    assert "torch" not in answer["modules"]


@pytest.mark.parametrize(
    "planted",
    [
        "import os; os.getenv('HOME')",
        "import threading, time; threading.Thread(target=time.sleep, args=(1,)).start()",
        "import socket; socket.socket().close()",
        "from pathlib import Path; (Path(__file__).parent / 'left').write_text('', encoding='utf-8')",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'pass'])",
    ],
)
def test_an_effect_of_ours_is_seen(planted: str, tmp_path: Path):
    """The watch has teeth: a planted module that does something is found."""
    shutil.copytree(PACKAGE, tmp_path / "torchgate", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "torchgate" / "planted.py").write_text(planted, encoding="utf-8")
    assert _import(["torchgate.planted"], tmp_path)["seen"] != []


def test_the_public_names_are_sorted_and_all_there_is():
    """What is visible in `torchgate` is what `__all__` says, and each of it is there when it is asked for."""
    assert torchgate.__all__ == sorted(torchgate.__all__) == dir(torchgate)
    visible = {
        name for name, value in vars(torchgate).items() if not name.startswith("_") and type(value).__name__ != "module"
    }
    assert visible - {"TYPE_CHECKING"} <= set(torchgate.__all__)
    for name in torchgate.__all__:
        assert getattr(torchgate, name) is not None
    with pytest.raises(AttributeError, match="Modell"):
        torchgate.Modell  # noqa: B018


COMPOSITION_ROOTS = {
    "cli.py",
    "app.py",
    "composition.py",
    "doctor/command.py",
    "gate_app.py",
    "mounted_engine.py",
    "pool_app.py",
    "survey_app.py",
    "wsgi.py",
}
"""They say the version, and nobody imports them but each other."""


def test_nobody_inside_imports_the_facade():
    """Inside, names come from where they are made; the facade is for others."""
    found = [
        f"{file}:{node.lineno}"
        for file, tree in sources().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and node.module == "torchgate" and file not in COMPOSITION_ROOTS)
        or (isinstance(node, ast.Import) and any(alias.name == "torchgate" for alias in node.names))
    ]
    assert found == []
