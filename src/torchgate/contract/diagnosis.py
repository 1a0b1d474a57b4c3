"""What `doctor` says of one thing of an installation: as it is, as it should be, and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["ok", "amber", "red", "skipped"]
"""`red`: it does not work, or not safely. `amber`: it works, and a person should look. `skipped`: nobody can tell."""


class Diagnosis(msgspec.Struct, frozen=True):
    """One statement about an installation.

    Args:
        verdict: how bad it is.
        seen: what is there; for `skipped` why nobody can tell. Never a secret.
        wanted: what should be there; empty where nothing is amiss.
        remedy: what to do next; empty where nothing is amiss.
        place: file, line or setting that it is about; or empty.
    """

    verdict: Verdict
    seen: str
    wanted: str = ""
    remedy: str = ""
    place: str = ""


def ok(seen: str, *, place: str = "") -> Diagnosis:
    """As it should be."""
    return Diagnosis("ok", seen, place=place)


def amber(seen: str, wanted: str, remedy: str, *, place: str = "") -> Diagnosis:
    """It works, and a person should look."""
    return Diagnosis("amber", seen, wanted, remedy, place)


def red(seen: str, wanted: str, remedy: str, *, place: str = "") -> Diagnosis:
    """It does not work, or not safely."""
    return Diagnosis("red", seen, wanted, remedy, place)


def skipped(reason: str, *, place: str = "") -> Diagnosis:
    """Nobody can tell, or it does not matter here."""
    return Diagnosis("skipped", reason, place=place)
