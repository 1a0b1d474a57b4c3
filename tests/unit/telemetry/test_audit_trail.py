"""The trail as the gate uses it: complete, in order, durable as asked, and closed when it can't be written."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.unit.telemetry.conftest import MakeTrail
from tests.unit.telemetry.events import make_event, make_refusal

from torchgate.contract.audit_event import LifecycleEvent, RefusalsEvent
from torchgate.contract.audit_sink import AuditSink
from torchgate.contract.errors import AuditUnavailable
from torchgate.telemetry.audit_trail import AuditTrail
from torchgate.telemetry.audit_verify import TrailReport, verify
from torchgate.telemetry.segment import segment_name, segments_of


def _folder(trail: AuditTrail) -> Path:
    return trail._folder


def _events(trail: AuditTrail) -> list[dict[str, Any]]:
    segments = segments_of(_folder(trail), trail.chain).values()
    return [json.loads(line) for path in segments for line in path.read_bytes().splitlines()]


def _request_ids(trail: AuditTrail) -> list[str]:
    return [event["api"]["request"]["uid"] for event in _events(trail) if event["class_uid"] == 6003]


def _assert_whole(report: TrailReport) -> None:
    assert report.problems == ()


async def test_trail_is_an_audit_sink(make_trail: MakeTrail) -> None:
    trail = make_trail()
    sink: AuditSink = trail
    assert not sink.is_available
    await trail.start()
    assert sink.is_available
    await sink.write(make_event())
    assert trail.statistics().written == 2


async def test_event_is_in_the_file_when_write_returns(make_trail: MakeTrail) -> None:
    """For both durabilities, read through another handle at once."""
    trail = make_trail()
    await trail.start()
    for event in (make_event(request_id="a"), make_refusal(request_id="b"), make_event(request_id="c")):
        await trail.write(event)
        assert _request_ids(trail)[-1] == event.request_id


@pytest.mark.parametrize("durability", ["bounded", "strict"])
async def test_16_producers_lose_and_shuffle_nothing(make_trail: MakeTrail, durability: str) -> None:
    """Each producer's events are all there, in its order, over many segments."""
    trail = make_trail(durability_allowed=durability, segment_bytes=65_536, checkpoint_events=50)
    await trail.start()

    async def produce(producer: int) -> None:
        for number in range(60):
            make = make_refusal if number % 7 == 0 else make_event
            await trail.write(make(request_id=f"{producer}-{number}"))

    await asyncio.gather(*(produce(producer) for producer in range(16)))
    await trail.close()
    seen = _request_ids(trail)
    assert len(seen) == 16 * 60
    for producer in range(16):
        assert [uid for uid in seen if uid.startswith(f"{producer}-")] == [f"{producer}-{n}" for n in range(60)]
    report = verify(_folder(trail))
    _assert_whole(report)
    assert report.unsigned == 0
    assert report.chains[0].segments > 5
    assert len({event["metadata"]["uid"] for event in _events(trail)}) == 16 * 60 + 1


async def test_order_of_calls_is_order_in_the_chain(make_trail: MakeTrail) -> None:
    """Also while the thread syncs, and for callers that wait for the disk and callers that do not."""
    trail = make_trail(sync_interval_s=0.01)
    await trail.start()
    writes = [
        asyncio.ensure_future(trail.write((make_refusal if number % 3 else make_event)(request_id=str(number))))
        for number in range(500)
    ]
    await asyncio.gather(*writes)
    assert _request_ids(trail) == [str(number) for number in range(500)]


async def test_cancelled_callers_disturb_nobody(make_trail: MakeTrail) -> None:
    """Clients go away while their refusals wait for the disk."""
    trail = make_trail()
    await trail.start()
    writes = [asyncio.ensure_future(trail.write(make_refusal(request_id=str(number)))) for number in range(200)]
    await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    assert all(write.done() and not write.cancelled() and write.exception() is None for write in writes[1::2])
    await trail.close()
    assert _request_ids(trail) == [str(number) for number in range(200)]
    _assert_whole(verify(_folder(trail)))


async def test_all_kinds_of_events_are_taken(make_trail: MakeTrail) -> None:
    trail = make_trail()
    await trail.start()
    await trail.write(RefusalsEvent(1795197600.0, "10.0.0.1", "direct", 12, 60.0))
    await trail.write(LifecycleEvent(1795197600.0, "failure", "worker digits:1/0#4", "It died."))
    await trail.write(make_event(action="load"))
    assert [event["class_uid"] for event in _events(trail)] == [6002, 6003, 6002, 6003]


async def test_two_instances_share_a_folder_and_no_file(make_trail: MakeTrail) -> None:
    """As when IIS recycles with overlap; the second names the first in its first line."""
    first, second = make_trail(segment_bytes=16_384), make_trail(segment_bytes=16_384)
    await first.start()
    await first.write(make_event(request_id="before"))
    await second.start()
    for number in range(40):
        await asyncio.gather(
            first.write(make_event(request_id=f"first-{number}")),
            second.write(make_refusal(request_id=f"second-{number}")),
        )
    _assert_whole(verify(_folder(first)))  # while both run
    await first.close()
    await second.write(make_event(request_id="after"))
    await second.close()
    assert _request_ids(first) == ["before", *(f"first-{n}" for n in range(40))]
    assert _request_ids(second) == [*(f"second-{n}" for n in range(40)), "after"]
    named = _events(second)[0]["unmapped"]["previous"]
    assert [(chain["chain"], chain["sequence"]) for chain in named] == [(first.chain, 2)]
    report = verify(_folder(first))
    _assert_whole(report)
    assert [chain.is_closed for chain in report.chains] == [True, True]


async def test_nothing_is_taken_before_start_and_after_close(make_trail: MakeTrail) -> None:
    trail = make_trail()
    with pytest.raises(AuditUnavailable):
        await trail.write(make_event())
    await trail.start()
    await trail.close()
    await trail.close()
    assert not trail.is_available
    with pytest.raises(AuditUnavailable):
        await trail.write(make_event())


async def test_queue_is_bounded_and_says_so(make_trail: MakeTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    """More refusals at once than may wait for the disk: those beyond the bound get 503, those within are written."""
    trail, is_quick, sync = make_trail(max_queue_events=16), threading.Event(), os.fsync
    await trail.start()

    def slow_disk(descriptor: int) -> None:
        is_quick.wait(120)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slow_disk)
    writes = [asyncio.ensure_future(trail.write(make_refusal(request_id=str(number)))) for number in range(100)]
    asyncio.get_running_loop().call_soon(is_quick.set)  # after all of them have begun
    results = await asyncio.gather(*writes, return_exceptions=True)
    refused = [result for result in results if isinstance(result, AuditUnavailable)]
    assert 100 - 2 * 16 <= len(refused) <= 84
    assert len(_request_ids(trail)) == 100 - len(refused)
    assert trail.statistics().refused == len(refused)
    assert trail.is_available


async def test_trail_refuses_while_it_can_not_be_written_and_recovers(
    make_trail: MakeTrail, caplog: pytest.LogCaptureFixture
) -> None:
    """The next segment can't be opened, because something stands in its place; then that is taken away."""
    trail = make_trail(segment_bytes=4096)
    await trail.start()
    obstacle = _folder(trail) / segment_name(trail.chain, 2)
    obstacle.mkdir()
    taken = 0

    async def write_until_refused() -> None:
        nonlocal taken
        for _ in range(10_000):
            await trail.write(make_refusal(request_id=str(taken)))
            taken += 1

    with pytest.raises(AuditUnavailable) as caught, caplog.at_level(logging.ERROR, logger="torchgate.telemetry"):
        await write_until_refused()
    assert "can't record" in caught.value.sentence
    assert str(_folder(trail)) not in caught.value.sentence  # nothing internal in the public sentence
    assert not trail.is_available
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert any(f"The audit trail in {_folder(trail)} can't be written" in error for error in errors), "which disk"
    with pytest.raises(AuditUnavailable):
        await trail.write(make_event())
    obstacle.rmdir()
    async with asyncio.timeout(120):
        while not trail.is_available:  # noqa: ASYNC110 - as the gate sees it: by asking
            await asyncio.sleep(0.01)
    await trail.write(make_event(request_id="again"))
    await trail.close()
    report = verify(_folder(trail))
    _assert_whole(report)
    ids = _request_ids(trail)
    assert ids[:taken] == [str(number) for number in range(taken)]
    assert ids[-1] == "again"
    messages = [event["message"] for event in _events(trail) if event["class_uid"] == 6002]
    assert any("is written again" in message for message in messages)


async def test_torn_line_of_a_dead_instance_is_moved_aside(make_trail: MakeTrail) -> None:
    """The folder looks as after a power cut: no lock held, half a line at the end."""
    dead = make_trail()
    await dead.start()
    await dead.write(make_event())
    await dead.close()
    folder = _folder(dead)
    chain = "host-0a0b0c0d-1795197600000"
    (folder / f"audit-{chain}.live").touch()
    segment = folder / segment_name(chain, 1)
    segment.write_bytes(b'{"metadata":{"sequence":1},"unmapped":{"prev":""}}\n{"half a li')
    trail = make_trail()
    await trail.start()
    assert segment.read_bytes().endswith(b"}\n")
    assert segment.with_suffix(".torn").read_bytes() == b'{"half a li'
    assert not (folder / f"audit-{chain}.live").exists()
    torn = [event["unmapped"]["torn"] for event in _events(trail) if "torn" in event["unmapped"]]
    assert torn == [{"segment": segment.name, "length": 11}]


async def test_line_of_a_live_instance_is_left_alone(make_trail: MakeTrail) -> None:
    """A second instance starts at the moment in which the first has half a line in its file."""
    live, other = make_trail(), make_trail()
    await live.start()
    segment = _folder(live) / segment_name(live.chain, 1)
    with segment.open("ab") as file:
        file.write(b'{"half a li')
    await other.start()
    assert segment.read_bytes().endswith(b'{"half a li')
    assert not segment.with_suffix(".torn").exists()
    assert any("not finished" in remark.sentence for remark in verify(_folder(live)).remarks)
