"""Imports modules and prints as JSON what they did beside it: `import_watch.py FOLDER NAMES…`, in a fresh process.

FOLDER comes first on the path. What a library does at its own import is the library's; what counts is what one of
our modules does, alone or by the standard library.
"""

from __future__ import annotations

import asyncio  # noqa: F401 - what it and the next two do at their own import is theirs
import concurrent.futures  # noqa: F401
import importlib
import json
import logging  # noqa: F401
import os
import sys
import threading
from typing import Any

EFFECTS = {
    "os.mkdir", "os.putenv", "os.remove", "os.rename", "socket.__new__", "socket.bind", "socket.connect",
    "subprocess.Popen", "tempfile.mkdtemp", "tempfile.mkstemp",
}  # fmt: skip

seen: list[str] = []


def ours() -> str:
    """The module of ours on whose behalf the caller runs, or nothing where a library is nearer."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.split(".")[0] not in sys.stdlib_module_names and name != "__main__":
            return name if name.split(".")[0] == "torchgate" else ""
        frame = frame.f_back  # type: ignore[assignment]
    return ""


class Watched(type(os.environ)):  # type: ignore[misc]
    """The environment, which tells who reads it."""

    def __getitem__(self, name: str) -> Any:
        if module := ours():
            seen.append(f"{module} reads {name}")
        return super().__getitem__(name)


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    """Note an effect of ours."""
    is_write = event == "open" and any(letter in str(arguments[1] or "") for letter in "wax+")
    if (event in EFFECTS or is_write) and (module := ours()):
        seen.append(f"{module}: {event} {arguments[0]}")


def main() -> None:
    """Watch, import, print."""
    sys.path.insert(0, sys.argv[1])
    os.environ.__class__ = Watched
    threads = threading.active_count()
    sys.addaudithook(hook)
    for name in sys.argv[2:]:
        importlib.import_module(name)
    seen.extend([f"starts {thread.name}" for thread in threading.enumerate()][threads:])
    sys.stdout.write(json.dumps({"seen": seen, "modules": sorted(sys.modules)}))


if __name__ == "__main__":
    main()
