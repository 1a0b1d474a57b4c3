"""torchgate.lock: what an installation was when somebody vouched for it; TOML, sorted, made to be reviewed.

Two installations of the same wheels, torch, devices and models have the same lock, whoever writes it, wherever the
project lies: nothing in it is a path, a time or a serial number.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from torchgate.contract.bounded_files import FileRefused, read_bounded
from torchgate.contract.survey import Device, Facts, PythonFacts, TorchFacts, Wheel
from torchgate.engine.pin.toml_text import toml_text

LOCK_FILE = "torchgate.lock"
"""Beside torchgate.toml."""

FORMAT = 1
TOLERANCE = 1e-3
"""How far a canary's answers may differ, as a part of the largest: three orders above what rounding makes of them."""

MAX_LOCK_BYTES = 4 << 20
_RELEASE = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){0,3}")
_HEAD = """\
# What this project was proven with. Written by `torchgate pin`; `torchgate pin --verify` compares it with what is here,
# and so does every server at its start. Edit nothing but driver.release_floor and driver.cuda_floor: what is newer than
# a floor is fine.
"""

Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
Count = Annotated[int, msgspec.Meta(ge=0)]


class LockRefused(Exception):
    """The lock can't be used; the text says why and what to do."""


class DriverFloor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The oldest driver that will do.

    Args:
        release_floor: e.g. `580.95.05`; empty: any, or none.
        cuda_floor: of the CUDA that the driver knows, as 1000 x major + 10 x minor; 0: any, or none.
    """

    release_floor: str = ""
    cuda_floor: Count = 0


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What each device answered.

    Args:
        tolerance: see TOLERANCE.
        devices: device → operation → what sums up its answer.
    """

    tolerance: Annotated[float, msgspec.Meta(gt=0, le=0.1)] = TOLERANCE
    devices: Mapping[str, Mapping[str, tuple[float, ...]]] = msgspec.field(default_factory=dict)


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that was locked.

    Args:
        format: of the file.
        torchgate: our version.
        wheels: by normalised name.
        models: `name:version` → digest of its folder.
    """

    format: int
    torchgate: str
    python: PythonFacts
    torch: TorchFacts
    driver: DriverFloor
    devices: tuple[Device, ...] = ()
    canary: Canary = Canary()
    models: Mapping[str, Digest] = msgspec.field(default_factory=dict)
    wheels: Mapping[str, Wheel] = msgspec.field(default_factory=dict)


def lock_of(facts: Facts, canaries: Mapping[str, Mapping[str, tuple[float, ...]]], models: Mapping[str, str]) -> Lock:
    """What is here, as a lock: its driver is its own floor, because no older one was proven."""
    return Lock(
        format=FORMAT,
        torchgate=facts.torchgate,
        python=facts.python,
        torch=facts.torch,
        driver=DriverFloor(facts.driver_release, facts.driver_cuda),
        devices=facts.devices,
        canary=Canary(devices=canaries),
        models=models,
        wheels=facts.wheels,
    )


def lock_text(lock: Lock) -> str:
    """The file."""
    return _HEAD + toml_text(msgspec.to_builtins(lock))


def read_lock(file: Path) -> Lock | None:
    """The lock of a project; None where it has none.

    Raises:
        LockRefused: there is one that can't be used.
    """
    try:
        content = read_bounded(file, MAX_LOCK_BYTES)
    except FileNotFoundError:
        return None
    except FileRefused as refused:
        raise LockRefused(f"{file} is no lock: {refused}. {_AGAIN}") from None
    except OSError as error:
        raise LockRefused(f"{file} can't be read: {error.strerror or error}. Let this account read it.") from None
    return parse_lock(content, str(file))


def parse_lock(content: bytes, name: str) -> Lock:
    """The lock that a file holds.

    Args:
        name: of the file, for sentences.

    Raises:
        LockRefused: it holds none.
    """
    try:
        values = tomllib.loads(content.decode("utf-8"))
        if values.get("format") != FORMAT:
            raise LockRefused(
                f"{name} has format {_shown(values.get('format'))}, and this Torchgate reads format {FORMAT}. {_AGAIN}"
            )
        lock = msgspec.convert(values, Lock)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise LockRefused(f"{name} is no lock: {error}. {_AGAIN}") from None
    except (ValueError, RecursionError):
        sentence = "a number has more digits than can be read, or it is nested too deeply"
        raise LockRefused(f"{name} is no lock: {sentence}. {_AGAIN}") from None
    mistake = _mistake(lock)
    if mistake:
        raise LockRefused(f"{name} is no lock: {mistake}. {_AGAIN}")
    return lock


_AGAIN = "Restore it, or review this installation and write it anew: torchgate pin."


def _mistake(lock: Lock) -> str:
    floor = lock.driver.release_floor
    if floor and not _RELEASE.fullmatch(floor):
        return f"driver.release_floor is {floor!r}, and a release is like 580.95.05"
    numbers = [value for one in lock.canary.devices.values() for values in one.values() for value in values]
    return "" if all(map(math.isfinite, numbers)) else "canary: an answer that is no finite number proves nothing"


def _shown(value: Any) -> str:
    return "no number" if value is None else repr(value)[:40]
