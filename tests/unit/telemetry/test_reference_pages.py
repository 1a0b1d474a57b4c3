"""The reference pages of audit events and metrics name what is emitted, all of it and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tests.unit.telemetry.conftest import MakeTrail
from tests.unit.telemetry.events import make_event, make_refusal

from torchgate.contract.audit_event import AuditEvent, LifecycleEvent, PolicyEvent, RefusalsEvent
from torchgate.contract.policy_status import PolicyStatus
from torchgate.telemetry.chain_writer import AuditStatistics
from torchgate.telemetry.metrics import Metrics
from torchgate.telemetry.ocsf import ChainPlace, Occasion, OcsfEncoder
from torchgate.telemetry.segment import segment_name

PAGES = Path(__file__).parents[3] / "docs" / "reference"
EVENTS: list[AuditEvent | Occasion] = [
    make_event(client_request_id="mine"),
    make_event(status=401, code="no_credential", principal=None, decision=None, credential_reason="expired"),
    make_refusal(model=None, model_name="x", peer="unix"),
    RefusalsEvent(1.0e9, "10.0.0.1", "direct", 5, 60.0),
    PolicyEvent(1.0e9, "a", "b", "s"),
    Occasion(LifecycleEvent(1.0e9, "update", "audit", "s"), {"torn": {"segment": "s", "length": 1}}),
    Occasion(LifecycleEvent(1.0e9, "update", "audit", "s"), {"refused": 1, "failure": "f"}),
]


def _paths(value: object, place: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(inner, f"{place}.{name}" if place else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from _paths(inner, place)
    else:
        yield place


def _first_cells(page: str) -> set[str]:
    text = (PAGES / page).read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in rows for name in re.findall(r"`([^`]+)`", cell)}


async def test_page_of_audit_events_names_every_field(make_trail: MakeTrail) -> None:
    encoder = OcsfEncoder(host="h", version="v", chain="c", uid_prefix="u")
    emitted = {path for event in EVENTS for path in _paths(json.loads(encoder.encode(event, ChainPlace(1, ""))))}
    first, second = make_trail(), make_trail()
    await first.start()
    await second.start()
    opening = (second._folder / segment_name(second.chain, 1)).read_bytes()
    emitted |= set(_paths(json.loads(opening)))
    assert emitted == _first_cells("audit-events.md")


def test_page_of_metrics_names_every_metric() -> None:
    audit, policy = AuditStatistics(0, 0, 0, 0.0, 0, True), PolicyStatus("a", 0.0)
    metrics = Metrics(tuple, lambda: audit, policy=lambda: policy, version="9.9", secrets=tuple)
    metrics.record(make_event())
    body, _ = metrics.render()
    served = set()
    for line in body.decode("utf-8").splitlines():
        if line.startswith("# TYPE torchgate_"):
            served.add(line.split()[2])
    assert served == _first_cells("metrics.md")
