"""Worlds for the checks of `doctor`: a project as a test writes it, on a machine as it is or as the test wants it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from tests.fakes.machine import FixedMachine

from torchgate.contract.diagnosis import Diagnosis
from torchgate.doctor.world import World, world_here


def world_of(folder: Path, settings: str = "", **changes: Any) -> World:
    """A project with these settings, in a folder that may be there; `machine` is one without trouble unless given."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "torchgate.toml").write_text(settings, encoding="utf-8")
    changes.setdefault("machine", FixedMachine())
    return msgspec.structs.replace(world_here(folder, version="1.0"), **changes)


def environment(**changes: str) -> dict[str, str]:
    """Ours, changed."""
    return {**os.environ, **changes}


def verdicts(found: Iterable[Diagnosis]) -> list[str]:
    """In order."""
    return [one.verdict for one in found]


def only(found: Iterable[Diagnosis], verdict: str) -> Diagnosis:
    """The one diagnosis with this verdict."""
    (one,) = [each for each in found if each.verdict == verdict]
    return one
