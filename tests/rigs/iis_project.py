"""A project as IIS shall serve it: its web.config rendered by the real command, its pool in a process apart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.rigs.keyed_project import KeyedProject

from torchgate.cli import main

_STOP_S = 120.0


def write_project(
    folder: Path,
    models: Mapping[str, tuple[str, str]],
    door: str,
    *,
    key_ids: tuple[str, ...] = ("ann",),
    extra: str = "",
) -> KeyedProject:
    """A project with keys, behind a front door.

    Args:
        models: name → (model.toml, model.py).
        extra: more of torchgate.toml.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir()
    project = KeyedProject.write(folder, models, key_ids, extra)
    settings = folder / "torchgate.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace("[gate]\n", f'[gate]\nfront_door = "{door}"\ndrain_s = 60\n', 1), encoding="utf-8")
    return project


def gate_of(
    folder: Path, pool: Path, door: str, *, key_ids: tuple[str, ...] = ("ann",), extra: str = ""
) -> KeyedProject:
    """A project without models, whose gate finds them in the pool of another one.

    Args:
        pool: the other project's folder.
    """
    shared = json.dumps(str(pool / ".torchgate"))
    return write_project(folder, {}, door, key_ids=key_ids, extra=f"{extra}\n[pool]\nfolder = {shared}\n")


def render(project: Path, *flags: str, application: str = "/") -> Path:
    """The folder with what `torchgate iis render` writes for a project, and nothing else.

    Args:
        flags: more of them, `--gate` say.
    """
    folder = project.parent / f"{project.name} iis"
    line = ["iis", "render", "--config", str(project), "--out", str(folder), "--folder", str(folder)]
    line += ["--site", "Default Web Site", "--application", application, "--python", sys.executable]
    assert main([*line, "--project-path", str(project), *flags]) == 0
    return folder


@contextmanager
def running_pool(project: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`torchgate pool`, which outlives every gate that IIS starts."""
    line = [sys.executable, "-m", "torchgate", "pool", str(project)]
    log = project / "pool.log"
    with log.open("wb") as output:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(_STOP_S)
