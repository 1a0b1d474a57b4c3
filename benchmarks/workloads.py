"""What is asked of the contenders: models by shape, bodies, connections, and how long for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Body = Literal["json", "raw"]


@dataclass(frozen=True)
class ModelFacts:
    """What a contender must know of a model without torch.

    Args:
        name: as in models.build.
        row: shape of one row of the input, FP32.
        answer: shape of one row of the output, FP32.
        max_batch: rows that a batching contender may run together.
        is_slow: one pass takes longer than an event loop should be held up for.
    """

    name: str
    row: tuple[int, ...]
    answer: tuple[int, ...]
    max_batch: int
    is_slow: bool = False


MODELS: dict[str, ModelFacts] = {
    facts.name: facts
    for facts in (
        ModelFacts("tiny", (16,), (4,), 32),
        ModelFacts("mlp", (512,), (256,), 32),
        ModelFacts("resnet18", (3, 224, 224), (1000,), 8, is_slow=True),
        ModelFacts("echo1", (262_144,), (262_144,), 1),
        ModelFacts("echo4", (1_048_576,), (1_048_576,), 1),
    )
}


@dataclass(frozen=True)
class Workload:
    """One kind of question: a model, and how its numbers travel (`raw`: the shortest binary form a contender has)."""

    model: ModelFacts
    body: Body

    @property
    def name(self) -> str:
        return f"{self.model.name} {self.body}"


@dataclass(frozen=True)
class Cell:
    """A workload under so many connections, each of which asks again as soon as it is answered."""

    workload: Workload
    connections: int

    @property
    def name(self) -> str:
        return f"{self.workload.name} c={self.connections}"


@dataclass(frozen=True)
class Plan:
    """Which cells, how often, how long.

    Args:
        repeats: times that every contender is started afresh for every model, interleaved with the others.
        seconds: of one measured cell.
        warm_up_s: of the same load before it, not counted.
        minutes: after which no further contender is started; what was measured by then is reported.
    """

    cells: tuple[Cell, ...]
    repeats: int
    seconds: int
    warm_up_s: int
    minutes: float


def full_plan() -> Plan:
    """Everything: three repeats, for a table to publish."""
    return Plan(_cells(_FULL), repeats=3, seconds=3, warm_up_s=1, minutes=24)


def quick_plan() -> Plan:
    """One repeat of the telling cells: shows that all work, and no more."""
    return Plan(_cells(_QUICK), repeats=1, seconds=1, warm_up_s=1, minutes=2.75)


def _cells(choice: dict[tuple[str, Body], tuple[int, ...]]) -> tuple[Cell, ...]:
    return tuple(
        Cell(Workload(MODELS[model], body), connections)
        for (model, body), several in choice.items()
        for connections in several
    )


_FULL: dict[tuple[str, Body], tuple[int, ...]] = {
    ("tiny", "json"): (1, 8, 64),
    ("tiny", "raw"): (1, 8, 64),
    ("mlp", "json"): (1, 8, 64),
    ("mlp", "raw"): (8, 64),
    ("resnet18", "json"): (8,),
    ("resnet18", "raw"): (1, 8),
    ("echo1", "json"): (8,),
    ("echo1", "raw"): (1, 8),
    ("echo4", "raw"): (1, 8),
}
_QUICK: dict[tuple[str, Body], tuple[int, ...]] = {
    ("tiny", "json"): (1, 64),
    ("tiny", "raw"): (64,),
    ("mlp", "json"): (64,),
    ("mlp", "raw"): (64,),
    ("resnet18", "raw"): (8,),
    ("echo1", "raw"): (8,),
}
