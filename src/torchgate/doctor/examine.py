"""Runs checks side by side, each for so long and no longer: one that fails or hangs is a finding like any other."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

import msgspec

from torchgate.contract.clock import monotonic_s
from torchgate.contract.diagnosis import Diagnosis, red, skipped
from torchgate.doctor.world import Check, World


class Line(msgspec.Struct, frozen=True):
    """One diagnosis, and whose it is."""

    area: str
    check: str
    diagnosis: Diagnosis


def examine(checks: Sequence[Check], world: World) -> tuple[Line, ...]:
    """What all of them find, in their order."""
    began_at = monotonic_s()
    runs = [_Run(check, world) for check in checks]
    for run in runs:
        run.start()
    lines: list[Line] = []
    for run in runs:
        run.join(max(0.0, began_at + run.check.limit_s - monotonic_s()))
        lines += [Line(run.check.area, run.check.name, one) for one in run.results()]
    return tuple(lines)


class _Run(threading.Thread):
    """One check in a thread of its own; a daemon, because one that hangs must not keep the process from ending."""

    def __init__(self, check: Check, world: World) -> None:
        super().__init__(name=f"doctor {check.name}", daemon=True)
        self.check = check
        self._world = world
        self._found: list[Diagnosis] = []
        self._is_done = False

    def run(self) -> None:
        """Examine, and keep what is found so far even where the rest fails."""
        try:
            if self.check.needs_settings and self._world.configuration.settings is None:
                self._found.append(skipped("the configuration has mistakes, which come first."))
            else:
                for one in self.check.run(self._world):
                    self._found.append(one)  # one by one: what came before a hang is kept
        except Exception as error:  # noqa: BLE001 - whatever it was, the other checks count
            self._found.append(_failure(error))
        self._is_done = True

    def results(self) -> list[Diagnosis]:
        """What it has found."""
        found = list(self._found)
        if not self._is_done:
            limit = f"the check did not end within {self.check.limit_s:g} s, and was given up."
            remedy = "Something that it asks hangs: a network share, a disk, a name that can't be resolved. Ask again."
            found.append(red(limit, "an answer in time", remedy))
        return found or [skipped("there is nothing to examine.")]


def _failure(error: Exception) -> Diagnosis:
    """Where it failed and with what kind of error; its own words may hold anything."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
    words = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return red(
        f"the check failed by {type(error).__name__}{words} in {place}.",
        "an answer",
        "If the error is of this machine, e.g. a missing right, repair that; otherwise it is a bug of Torchgate.",
    )
