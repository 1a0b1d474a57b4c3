"""Importing the product has no effect, and loads torch nowhere but in the worker."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

from tests.architecture.source_tree import sources

import torchgate

WATCH = """
import importlib, json, os, sys, threading
import asyncio, concurrent.futures, logging  # what they do at their own import is theirs

seen = []

def ours():
    """The module of ours that did it, if it was not the library that it imports."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.split(".")[0] not in sys.stdlib_module_names and name != "__main__":
            return name if name.split(".")[0] == "torchgate" else None
        frame = frame.f_back

class Watched(type(os.environ)):
    def __getitem__(self, name):
        if module := ours():
            seen.append(f"{module} reads {name}")
        return super().__getitem__(name)

EFFECTS = {"socket.__new__", "socket.bind", "socket.connect", "subprocess.Popen", "os.putenv", "os.mkdir", "os.remove",
           "os.rename", "tempfile.mkstemp", "tempfile.mkdtemp"}

def hook(event, arguments):
    writes = event == "open" and any(letter in str(arguments[1] or "") for letter in "wax+")
    if (event in EFFECTS or writes) and (module := ours()):
        seen.append(f"{module}: {event} {arguments[0]}")

os.environ.__class__ = Watched
threads = threading.active_count()
sys.addaudithook(hook)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
seen += [f"starts {thread.name}" for thread in threading.enumerate()][threads:]
print(json.dumps({"seen": seen, "torch": "torch" in sys.modules, "modules": sorted(sys.modules)}))
"""


def _import(names: list[str]) -> dict[str, object]:
    result = subprocess.run(
        [sys.executable, "-B", "-X", "utf8", "-W", "ignore", "-c", WATCH, json.dumps(names)],
        capture_output=True, text=True, encoding="utf-8", check=True,
    )  # fmt: skip
    answer: dict[str, object] = json.loads(result.stdout)
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
    assert not {"torch", "uvicorn", "pydantic", "cryptography"} & set(answer["modules"])  # type: ignore[call-overload]


def test_importing_every_room_does_nothing_and_loads_no_torch():
    """Both operating systems' rooms import on either."""
    answer = _import(_modules())
    assert answer["seen"] == []
    assert answer["torch"] is False


def test_the_public_names_are_sorted_and_all_there_is():
    """What is visible in `torchgate` is what `__all__` says."""
    visible = {
        name for name, value in vars(torchgate).items() if not name.startswith("_") and type(value).__name__ != "module"
    } | {"__version__"}
    assert torchgate.__all__ == sorted(visible)


def test_nobody_inside_imports_the_facade():
    """Inside, names come from where they are made; the facade is for others."""
    found = [
        f"{file}:{node.lineno}"
        for file, tree in sources().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and node.module == "torchgate" and file not in {"cli.py", "app.py"})
        or (isinstance(node, ast.Import) and any(alias.name == "torchgate" for alias in node.names))
    ]
    assert found == []
