"""The newest events, across instances, while they are written."""

from __future__ import annotations

import json

import pytest
from tests.unit.telemetry.conftest import MakeTrail
from tests.unit.telemetry.events import make_event, make_refusal

from torchgate.contract.audit_event import LifecycleEvent, RefusalsEvent
from torchgate.telemetry.audit_tail import AuditTail, human
from torchgate.telemetry.ocsf import ChainPlace, OcsfEncoder
from torchgate.telemetry.segment import segment_name


def _ids(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["api"]["request"]["uid"] for line in lines]


async def test_last_events_come_across_chains_and_segments(make_trail: MakeTrail) -> None:
    first, second = make_trail(segment_bytes=4096), make_trail(segment_bytes=4096)
    await first.start()
    await second.start()
    for number in range(20):
        trail = (first, second)[number % 2]
        await trail.write(make_refusal(request_id=str(number), at=1.0e9 + number))
    tail = AuditTail(first._folder)
    lines = [line for line in tail.last(100) if b"request" in line and json.loads(line)["class_uid"] == 6003]
    assert _ids(lines) == [str(number) for number in range(20)]
    assert len(tail.last(5)) == 5
    assert tail.last(0) == []


async def test_follow_gives_each_new_event_once(make_trail: MakeTrail) -> None:
    """Also those of segments and chains that are opened meanwhile; never half a line."""
    trail, later = make_trail(segment_bytes=4096), make_trail()
    await trail.start()
    tail = AuditTail(trail._folder)
    tail.last(1)
    assert list(tail.follow()) == []
    seen: list[str] = []
    for number in range(12):
        await trail.write(make_refusal(request_id=str(number)))
        seen += _ids(list(tail.follow()))
    assert seen == [str(number) for number in range(12)]
    await later.start()
    await later.write(make_event(request_id="later"))
    assert [json.loads(line)["class_uid"] for line in tail.follow()] == [6003, 6002]  # by time: the event's is long ago
    segment = trail._folder / segment_name(later.chain, 1)
    with segment.open("ab") as file:
        file.write(b'{"half')
    assert list(tail.follow()) == []


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (make_event(), ["allowed", "200", "ada", "infer digits:1", "by policy.grants[0]", "12.3 ms"]),
        (make_refusal(), ["blocked", "403", "by default deny", "forbidden"]),
        (
            make_event(
                principal=None, decision=None, status=401, code="rejected_credential", credential_reason="expired"
            ),
            ["unauthorized", "401", "nobody proven", "expired"],
        ),
        (RefusalsEvent(1.0e9, "10.0.0.9", "direct", 512, 60.0), ["512 requests from 10.0.0.9"]),
        (LifecycleEvent(1.0e9, "failure", "worker digits:1/0#4", "It died."), ["failure", "digits:1/0#4", "It died."]),
    ],
)
def test_event_is_shown_to_people(event: object, words: list[str]) -> None:
    encoder = OcsfEncoder(host="h", version="v", chain="c", uid_prefix="u")
    shown = human(encoder.encode(event, ChainPlace(1, ""))[:-1])  # type: ignore[arg-type]
    assert all(word in shown for word in words), shown


@pytest.mark.parametrize(
    "line", [b"", b"no json", b"[1]", b"{}", b'{"class_uid":6003}', b'{"class_uid":6003,"resources":[{}],"time":1e40}']
)
def test_what_is_no_event_is_shown_all_the_same(line: bytes) -> None:
    assert human(line)


def test_no_event_can_move_the_cursor_of_a_terminal() -> None:
    """An attacker put escape sequences and direction marks into a model's name."""
    event = make_event(model=None, model_name="\x1b]0;owned\x07\u202e\x9b2J", path="/x")
    shown = human(OcsfEncoder(host="h", version="v", chain="c", uid_prefix="u").encode(event, ChainPlace(1, "")))
    assert shown.isprintable()
