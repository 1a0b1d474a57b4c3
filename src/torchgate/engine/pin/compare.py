"""Each fact of an installation beside what its lock says, and what to do where they differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from torchgate.engine.pin.lock import LOCK_FILE, Lock

MEMORY_TOLERANCE = 0.05
"""Of a device's memory, which drivers report a little differently; two cards of one name differ by far more."""

_NOTHING = "nothing"
_REPIN = f"or review the change and write {LOCK_FILE} anew: torchgate pin"
_REMEDIES = {
    "torchgate": "Install the Torchgate that is locked",
    "python": "Run it with the Python that is locked",
    "torch": "Install the torch that is locked, with its local tag",
    "driver": "Install the locked driver or a newer one; torchgate[nvml] lets us ask its release",
    "devices": "Give this process the locked devices: CUDA_VISIBLE_DEVICES, the driver, the card itself",
    "canary": "Examine the device and its driver: nvidia-smi, the event log; until it computes right, take it out",
    "wheels": "Install what is locked, from the same wheels",
    "models": "Restore the model's folder",
}


class Mismatch(msgspec.Struct, frozen=True):
    """One fact that is not what it was.

    Args:
        fact: e.g. `torch.version`, `wheels.numpy.record`, `models.digits:1`.
        locked: as the lock says it; `nothing` where it says nothing of it.
        seen: as it is.
        remedy: what to do.
    """

    fact: str
    locked: str
    seen: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.fact}: locked {self.locked}, seen {self.seen}. {self.remedy}."


def mismatches(locked: Lock, seen: Lock, troubles: Mapping[str, str] | None = None) -> tuple[Mismatch, ...]:
    """Everything of an installation that is not what the lock says; models apart.

    Args:
        seen: what is here.
        troubles: start of a fact's name → why it could not be found out, which is said instead of nothing.
    """
    return tuple(_differing(_facts(locked), _facts(seen), locked.canary.tolerance, troubles or {}))


def model_mismatch(lock: Lock, ref: str, digest: str) -> Mismatch | None:
    """How a model version differs from the lock.

    Args:
        ref: `name:version`.
        digest: of its folder now; empty: there is no such folder.
    """
    locked = lock.models.get(ref, "")
    if locked == digest:
        return None
    return Mismatch(f"models.{ref}", locked or _NOTHING, digest or _NOTHING, _remedy("models"))


def release_numbers(release: str) -> tuple[int, ...]:
    """A driver's release, to be compared; empty for what is none."""
    parts = release.split(".")
    return tuple(map(int, parts)) if all(part.isascii() and part.isdecimal() for part in parts) else ()


def _facts(lock: Lock) -> dict[str, Any]:
    """Name → value of all that belongs to the machine."""
    values = msgspec.to_builtins(lock)
    del values["format"], values["models"]
    values["canary"] = values["canary"]["devices"]
    return dict(_flat(values, ""))


def _flat(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, Sequence) and value and all(isinstance(one, Mapping) for one in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{place}.{index}")
    elif value != [] or place.count(".") > 0:  # a list of no devices is no fact of its own
        yield place, value


def _differing(
    locked: Mapping[str, Any], seen: Mapping[str, Any], tolerance: float, troubles: Mapping[str, str]
) -> Iterator[Mismatch]:
    for fact in sorted(locked.keys() | seen.keys()):
        if not _fits(fact, locked.get(fact), seen.get(fact), tolerance):
            trouble = next((why for start, why in troubles.items() if f"{fact}.".startswith(f"{start}.")), "")
            shown = _shown(seen.get(fact))
            yield Mismatch(fact, _shown(locked.get(fact)), f"{shown} ({trouble})" if trouble else shown, _remedy(fact))


def _fits(fact: str, locked: Any, seen: Any, tolerance: float) -> bool:
    if fact == "driver.release_floor":
        return not locked or release_numbers(seen) >= release_numbers(locked)
    if fact == "driver.cuda_floor":
        return bool(seen >= locked)
    if locked is None or seen is None:
        return False
    if fact.startswith("canary."):
        return _are_close(locked, seen, tolerance)
    if fact.endswith(".memory_mib"):
        return bool(abs(seen - locked) <= MEMORY_TOLERANCE * locked)
    return bool(locked == seen)


def _are_close(locked: Sequence[float], seen: Sequence[float], tolerance: float) -> bool:
    if len(locked) != len(seen):
        return False
    allowed = tolerance * max((abs(value) for value in locked), default=0.0)
    # A difference that is no number is within no bound.
    return all(math.isfinite(now) and abs(now - then) <= allowed for then, now in zip(locked, seen, strict=True))


def _shown(value: Any) -> str:
    if value is None or value in ("", []):
        return _NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _remedy(fact: str) -> str:
    return f"{_REMEDIES[fact.partition('.')[0]]}, {_REPIN}"
