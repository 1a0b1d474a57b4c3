"""What a request takes of quotas on its way through the engine, and what it leaves behind however it ends."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes.in_process_back_end import InProcessBackEnd
from tests.rigs.engine_questions import ask, catalog_of, number_request, person, until

from torchgate.contract.clock import monotonic_s
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import BodyTooLarge, DeadlineExceeded, Overloaded, QuotaExceeded
from torchgate.engine.quota_settings import QuotaSettings
from torchgate.engine.quotas import Quotas
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings

OWNER = ModelRef("owner", "1")


async def started(back_end: InProcessBackEnd, *quotas: QuotaSettings, max_queue_requests: int = 256) -> Scheduler:
    """An engine with these quotas, on a clock that stands."""
    now = monotonic_s()
    engine = Scheduler(
        catalog_of("owner"),
        back_end,
        EngineSettings(section_bytes=1 << 20, max_queue_requests=max_queue_requests),
        quotas=Quotas(quotas, lambda: now),
        digest=lambda _: "sha256:0",
    )
    await engine.start()
    await until(lambda: engine.is_warm)
    return engine


async def used(engine: Scheduler, key: str = "ada") -> dict[str, float]:
    """Unit → what this principal has used of it."""
    return {use.unit: use.used for use in await engine.quota_use(person(key))}


EVERYTHING = QuotaSettings(
    role="asker",
    requests_per_minute=10,
    concurrent_requests=2,
    rows_per_minute=8,
    request_bytes_per_minute=1000,
    compute_seconds_per_minute=10,
)


async def test_a_request_takes_of_every_unit_and_gives_its_place_back():
    engine = await started(InProcessBackEnd(predict_s=0.5), EVERYTHING)
    await ask(engine, [1, 2, 3])
    assert await used(engine) == {
        "concurrent_requests": 0.0,
        "requests_per_minute": 1.0,
        "rows_per_minute": 3.0,
        "request_bytes_per_minute": 24.0,
        "compute_seconds_per_minute": 0.5,
    }
    await engine.stop(1)


async def test_who_is_over_its_quota_is_refused_and_nobody_else():
    engine = await started(InProcessBackEnd(), QuotaSettings(role="asker", requests_per_minute=2))
    for _ in range(2):
        await ask(engine, [1], "ada")
    for _ in range(20):
        with pytest.raises(QuotaExceeded, match="role asker"):
            await ask(engine, [1], "ada")
    for _ in range(2):
        await ask(engine, [1], "bob")
    await engine.stop(1)


async def test_too_many_rows_are_refused_before_the_queue_and_leave_no_trace():
    back_end = InProcessBackEnd()
    engine = await started(back_end, EVERYTHING)
    await ask(engine, [1] * 6)
    before, ran = await used(engine), len(back_end.ran)
    with pytest.raises(QuotaExceeded, match="6 of 8 rows are used and this request needs 3"):
        await ask(engine, [1] * 3)
    assert (await used(engine), len(back_end.ran)) == (before, ran)
    with pytest.raises(BodyTooLarge, match="never has room for more than 8 at once"):
        await ask(engine, [1] * 9)
    await engine.stop(1)


async def test_a_server_without_room_takes_nothing_of_the_callers_quota():
    """The refusal is ours (503), so that the caller must not pay for it: neither at the door nor before the queue."""
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end, EVERYTHING, max_queue_requests=1)
    runs = asyncio.create_task(ask(engine, [1], "bob"))
    await until(lambda: bool(back_end.ran))
    late = await engine.admit(OWNER, person("ada"), 64)
    await late.reserve(8)
    waits = asyncio.create_task(ask(engine, [1], "eve"))
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        await engine.admit(OWNER, person("ada"), 64)
    with pytest.raises(Overloaded):
        await late.run(number_request([1], person("ada")))
    late.release()
    assert not any((await used(engine)).values())
    gate.set()
    await asyncio.gather(runs, waits)
    await engine.stop(1)


async def test_a_place_comes_back_however_the_request_ends():
    """Refused, cancelled while it runs, too late, malformed before it ever ran."""
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end, QuotaSettings(role="asker", concurrent_requests=1))
    gone = asyncio.create_task(ask(engine, [1]))
    await until(lambda: bool(back_end.ran))
    with pytest.raises(QuotaExceeded, match="1 of 1 requests at a time are under way"):
        await ask(engine, [1])
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    with pytest.raises(DeadlineExceeded):
        await ask(engine, [1], timeout_s=0.02)
    permit = await engine.admit(OWNER, person("ada"), 64)
    permit.release()
    permit.release()
    assert await used(engine) == {"concurrent_requests": 0.0}
    gate.set()
    await ask(engine, [1])
    await engine.stop(1)


async def test_bytes_count_decoded_whatever_was_announced():
    engine = await started(InProcessBackEnd(), QuotaSettings(role="asker", request_bytes_per_minute=1000))
    permit = await engine.admit(OWNER, person("ada"), 600)
    with pytest.raises(QuotaExceeded, match="600 of 1000 bytes are used and this request needs 500"):
        await engine.admit(OWNER, person("ada"), 500)
    await permit.reserve(16)
    assert await used(engine) == {"request_bytes_per_minute": 16.0}
    await permit.reserve(200)  # a permit may reserve anew
    assert await used(engine) == {"request_bytes_per_minute": 200.0}
    permit.release()
    assert await used(engine) == {"request_bytes_per_minute": 200.0}
    await engine.stop(1)


async def test_refusals_of_every_unit_are_counted_by_quota():
    engine = await started(InProcessBackEnd(), QuotaSettings(name="q", role="asker", requests_per_minute=1))
    await ask(engine, [1])
    for _ in range(3):
        with pytest.raises(QuotaExceeded):
            await ask(engine, [1])
    (total,) = await engine.quota_totals()
    assert (total.quota, total.refusals, total.exhausted, total.highest_use) == ("q", 3, 1, 1.0)
    await engine.stop(1)
