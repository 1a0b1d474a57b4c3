"""What every contender is: one file here, one class with these few names.

`served` contenders start a process that speaks HTTP; the load comes from outside. `looped` ones have no HTTP: their
process runs the load itself and tells how far it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy

from workloads import Cell, ModelFacts, Workload


@dataclass(frozen=True)
class Place:
    """Where a contender runs: its interpreter, an empty folder of its own, a free port of the loopback address."""

    python: Path
    folder: Path
    port: int


@dataclass(frozen=True)
class Launch:
    """A process to start."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """One HTTP request; always POST."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Served(Protocol):
    """A contender behind HTTP."""

    name: str
    about: str

    def declines(self, cell: Cell) -> str:
        """Why it does not take part in a cell, or nothing."""
        ...

    def launch(self, model: ModelFacts, place: Place) -> Launch:
        """The process that serves this one model there."""
        ...

    def question(self, workload: Workload, row: numpy.ndarray) -> Question:
        """The request that asks for one row, as this contender wants it."""
        ...

    def answer(self, workload: Workload, headers: Mapping[str, str], body: bytes) -> numpy.ndarray | None:
        """The numbers of an answer; None where the contender computes none."""
        ...


class Looped(Protocol):
    """A contender without HTTP: its process reads `batch seconds` lines and answers each with a line of JSON."""

    name: str
    about: str

    def declines(self, cell: Cell) -> str:
        """Why it does not take part in a cell, or nothing."""
        ...

    def launch(self, model: ModelFacts, place: Place) -> Launch:
        """The process that runs the loop."""
        ...

    def batches(self, cell: Cell) -> tuple[int, ...]:
        """The batch sizes that so many clients could at best be served with; the fastest counts."""
        ...


def json_numbers(row: numpy.ndarray) -> str:
    """Numbers as a client would write them: the shortest text that gives the same FP32 back, to 4 decimals."""
    return "[" + ",".join(f"{number:.4f}".rstrip("0").rstrip(".") for number in row.ravel().tolist()) + "]"
