"""What was asked and answered, and what may not be: answers of others, of an old generation, without an audit event."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from project import RAISES


class Ledger:
    """Counts answers as they come, and keeps the request id of each that the audit trail must hold."""

    def __init__(self, requests: int) -> None:
        self.wanted = requests
        self.asked = 0
        self.disturbances_left = 0
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """(kind of asker, outcome) → how often."""
        self.mix_ups: list[str] = []
        self.wrong_generations: list[str] = []
        self.answered: set[str] = set()
        self.calm_s: list[float] = []
        self.innocent_s: list[float] = []
        self.is_calm = True
        self.generation_written = 1
        self.generation_confirmed = 1

    @property
    def is_done(self) -> bool:
        """Whether enough was asked, and all that should disturb has happened."""
        return self.asked >= self.wanted and not self.disturbances_left

    @property
    def progress(self) -> float:
        """0 to 1."""
        return self.asked / self.wanted

    def heard(self, kind: str, outcome: str, request_id: str | None) -> None:
        """An answer came, or surely none will."""
        self.outcomes[kind, outcome] += 1
        if request_id is not None:
            if request_id in self.answered:
                self.mix_ups.append(f"two answers carry the request id {request_id}")
            self.answered.add(request_id)

    def took(self, started_at: float) -> None:
        """An innocent's right answer took so long."""
        (self.calm_s if self.is_calm else self.innocent_s).append(time.perf_counter() - started_at)

    def examine(self, body: bytes, numbers: list[int], key: str, least_generation: int) -> None:
        """Compare an answer with its question: every row, its owner, and which copy of the model made it.

        Args:
            least_generation: what had been confirmed as switched to before the question was sent.
        """
        outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        if outputs["double"] != [2 * number + 1 for number in numbers] or RAISES in numbers:
            self.mix_ups.append(f"{key} asked {numbers} and heard {outputs['double']}")
        if outputs["owner"] != [key] * len(numbers):
            self.mix_ups.append(f"{key} heard an answer for {outputs['owner']}")
        for generation in set(outputs["generation"]):
            if not least_generation <= generation <= self.generation_written:
                self.wrong_generations.append(
                    f"generation {generation} answered; {least_generation} to {self.generation_written} may"
                )

    def lost_audit_events(self, folder: Path) -> tuple[int, int]:
        """How many answers have no event in any trail below the folder, and how many events there are."""
        seen: set[str] = set()
        for segment in sorted(folder.rglob("*.jsonl")):
            for line in segment.read_bytes().splitlines():
                if request_id := _request_id(line):
                    seen.add(request_id)
        return len(self.answered - seen), len(seen)

    def as_json(self) -> dict[str, Any]:
        """Every figure."""
        outcomes: dict[str, dict[str, int]] = {}
        for (kind, outcome), count in sorted(self.outcomes.items()):
            outcomes.setdefault(kind, {})[outcome] = count
        return {
            "asked": self.asked,
            "answered": len(self.answered),
            "outcomes": outcomes,
            "mixed_up": len(self.mix_ups),
            "wrong_generation": len(self.wrong_generations),
            "calm_ms": percentiles_ms(self.calm_s),
            "chaos_ms": percentiles_ms(self.innocent_s),
        }


def percentiles_ms(seconds: list[float]) -> dict[str, float]:
    """p50, p90, p99, p99.9 and the largest, in milliseconds."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    points = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
    found = {name: ordered[min(len(ordered) - 1, int(len(ordered) * point))] for name, point in points.items()}
    return {name: round(one * 1e3, 2) for name, one in {**found, "max": ordered[-1]}.items()}


def _request_id(line: bytes) -> str:
    """Of an audit event of a request; empty for another kind, and for a last line that a kill cut off."""
    try:
        event = json.loads(line)
    except ValueError:
        return ""
    return str(event.get("api", {}).get("request", {}).get("uid", ""))
