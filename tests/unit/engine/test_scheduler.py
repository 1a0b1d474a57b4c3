"""The engine above the seam, over a back end without any process."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from tests.fakes.in_process_back_end import InProcessBackEnd
from tests.rigs.engine_questions import (
    DIES,
    HANGS,
    RAISES,
    ask,
    catalog_of,
    check,
    number_request,
    person,
    raw_ask,
    until,
)

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InvalidRequest,
    ModelError,
    ModelNotReady,
    Overloaded,
    RunTooLong,
    TorchgateError,
    Unavailable,
    UnknownModel,
    WorkerDied,
)
from torchgate.contract.tensors import PlacedTensor
from torchgate.engine.catalog import Catalog
from torchgate.engine.digest import DigestRefused
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings

OWNER = ModelRef("owner", "1")
LONG_S = 150.0
"""A delay that no test waits for."""
FIRST = 1
"""Activation of the first version that an engine loads."""


async def started(
    back_end: InProcessBackEnd,
    *models: str,
    settings: EngineSettings | None = None,
    events: list[LifecycleEvent] | None = None,
    max_batch_delay_s: float | None = None,
) -> Scheduler:
    """An engine that has loaded these models."""
    catalog = catalog_of(*(models or ("owner",)))
    if max_batch_delay_s is not None:
        entries = {
            ref: msgspec.structs.replace(entry, max_batch_delay_s=max_batch_delay_s)
            for ref, entry in catalog.entries.items()
        }
        catalog = Catalog(entries, catalog.defaults)
    engine = Scheduler(
        catalog,
        back_end,
        settings or EngineSettings(section_bytes=1 << 20),
        digest=lambda _: "sha256:0",
        on_lifecycle=events.append if events is not None else None,
    )
    await engine.start()
    await until(lambda: engine.is_warm)
    return engine


async def test_an_answer_comes_back_to_its_question():
    back_end = InProcessBackEnd()
    engine = await started(back_end)
    timing = await ask(engine, [1, 2, 3])
    assert (timing.batch_rows, timing.batch_requests, timing.attempts) == (3, 1, 1)
    assert timing.worker == "owner:1/0#1"
    assert back_end.versions[FIRST].free_bytes == back_end.versions[FIRST].memory_bytes
    await engine.stop(1)


async def test_starting_returns_at_once_and_loads_in_the_background():
    engine = Scheduler(catalog_of("owner"), InProcessBackEnd(), EngineSettings(), digest=lambda _: "")
    await engine.start()
    assert not engine.is_warm
    with pytest.raises(ModelNotReady, match="loading") as refused:
        await engine.admit(OWNER, person("ada"), 1)
    assert refused.value.retry_after_s
    await until(lambda: engine.is_warm)
    await engine.stop(0)


async def test_requests_that_come_while_a_batch_runs_share_the_next_one():
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end)
    asked = [asyncio.create_task(ask(engine, [number], f"p{number}")) for number in range(8)]
    await until(lambda: len(back_end.ran) == 1)
    asked += [asyncio.create_task(ask(engine, [number], f"p{number}")) for number in range(8, 20)]
    await asyncio.sleep(0)
    gate.set()
    timings = await asyncio.gather(*asked)
    assert [len(batch.items) for batch in back_end.ran] == [8, 12]
    assert timings[0].batch_requests == 8
    await engine.stop(1)


async def test_a_lone_request_waits_for_nobody():
    """With a max_batch_delay_s of minutes, and nobody else admitted, none of them passes before the hand-over."""
    engine = await started(InProcessBackEnd(), max_batch_delay_s=LONG_S)
    assert (await ask(engine, [1])).queue_s < LONG_S
    await engine.stop(1)


async def test_a_batch_waits_for_a_permit_that_is_on_its_way_at_most_its_delay():
    back_end = InProcessBackEnd()
    engine = await started(back_end)
    slow_upload = await engine.admit(OWNER, person("slow"), 100)
    timing = await ask(engine, [1])
    assert timing.queue_s >= 0.004
    slow_upload.release()
    await engine.stop(1)


async def test_when_the_company_goes_away_nobody_waits_for_it():
    gate = asyncio.Event()
    gate.set()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end, max_batch_delay_s=LONG_S)
    coming = await engine.admit(OWNER, person("slow"), 100)
    asked = asyncio.create_task(ask(engine, [1]))
    await asyncio.sleep(0)
    coming.release()
    assert (await asked).queue_s < LONG_S
    await engine.stop(1)


async def test_a_row_that_raises_fails_alone():
    back_end = InProcessBackEnd()
    engine = await started(back_end)
    results = await asyncio.gather(*(ask(engine, [n]) for n in (1, RAISES, 2)), return_exceptions=True)
    assert isinstance(results[1], ModelError)
    assert not isinstance(results[0], BaseException)
    assert not isinstance(results[2], BaseException)
    await engine.stop(1)


@pytest.mark.parametrize(("marked", "error"), [(DIES, WorkerDied), (HANGS, RunTooLong)])
async def test_only_the_guilty_request_of_a_lost_batch_gets_the_error(marked: int, error: type[TorchgateError]):
    back_end = InProcessBackEnd()
    engine = await started(back_end)
    results = await asyncio.gather(*(ask(engine, [n], f"p{n}") for n in (1, marked, 2)), return_exceptions=True)
    assert isinstance(results[1], error)
    for one in (results[0], results[2]):
        assert not isinstance(one, BaseException)
        assert one.attempts == 2
    runs = Counter(item.request.request_id for batch in back_end.ran for item in batch.items)
    assert set(runs.values()) == {2}, "each once with the others, and once alone"
    await engine.stop(1)


async def test_rows_that_must_not_run_twice_never_do():
    back_end = InProcessBackEnd()
    engine = await started(back_end, "once")
    asked = (ask(engine, [n], model="once") for n in (1, DIES, 2))
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in results] == [WorkerDied] * 3
    assert len(back_end.ran) == 1
    await engine.stop(1)


async def test_a_passed_deadline_is_answered_at_once_and_its_rows_never_start():
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end)
    running = asyncio.create_task(ask(engine, [1]))
    await until(lambda: len(back_end.ran) == 1)
    with pytest.raises(DeadlineExceeded, match="timeout"):
        await ask(engine, [2], timeout_s=0.03)
    gate.set()
    await running
    await ask(engine, [3])
    assert len(back_end.ran) == 2
    await engine.stop(1)


async def test_a_deadline_passes_while_its_rows_run_and_their_memory_is_kept_until_then():
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end)
    with pytest.raises(DeadlineExceeded):
        await ask(engine, [1], timeout_s=0.03)
    gate.set()
    await ask(engine, [2])
    version = back_end.versions[FIRST]
    assert version.free_bytes == version.memory_bytes
    await engine.stop(1)


async def test_a_deadline_that_has_passed_already_is_told_before_the_queue():
    back_end = InProcessBackEnd()
    engine = await started(back_end)
    with pytest.raises(DeadlineExceeded):
        await ask(engine, [1], timeout_s=-1)
    assert back_end.ran == []
    await engine.stop(1)


async def test_a_request_that_is_taken_back_never_starts():
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end)
    running = asyncio.create_task(ask(engine, [1]))
    await until(lambda: len(back_end.ran) == 1)
    unwanted = asyncio.create_task(ask(engine, [2]))
    await asyncio.sleep(0)
    unwanted.cancel()
    await asyncio.gather(unwanted, return_exceptions=True)
    gate.set()
    await running
    assert len(back_end.ran) == 1
    assert back_end.versions[FIRST].free_bytes == back_end.versions[FIRST].memory_bytes
    await engine.stop(1)


async def test_the_queue_is_bounded_in_requests():
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end, settings=EngineSettings(section_bytes=1 << 20, max_queue_requests=2))
    running = asyncio.create_task(ask(engine, [0]))
    await until(lambda: len(back_end.ran) == 1)
    waiting = [asyncio.create_task(ask(engine, [number])) for number in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await ask(engine, [3])
    assert refused.value.retry_after_s
    gate.set()
    await asyncio.gather(running, *waiting)
    await engine.stop(1)


async def test_announced_bytes_are_bounded_at_the_door():
    """A client that announces much and sends nothing holds bytes, and no more than there are."""
    engine = await started(InProcessBackEnd())  # 512 KiB for inputs
    permits = [await engine.admit(OWNER, person("eve"), 50_000) for _ in range(7)]  # three quarters
    with pytest.raises(Overloaded, match="stay free for others"):
        await engine.admit(OWNER, person("eve"), 50_000)
    (await engine.admit(OWNER, person("ada"), 50_000)).release()
    for permit in permits:
        permit.release()
        permit.release()
    assert engine._versions[OWNER].room.held_bytes == 0
    await engine.stop(1)


async def test_an_unannounced_body_of_more_than_fits_is_refused_when_its_length_is_known():
    engine = await started(InProcessBackEnd())
    permit = await engine.admit(OWNER, person("ada"), 1 << 40)
    with pytest.raises(BodyTooLarge):
        await permit.reserve(1 << 20)
    permit.release()
    assert engine._versions[OWNER].room.held_bytes == 0
    await engine.stop(1)


async def test_more_rows_than_a_batch_can_have_are_refused():
    engine = await started(InProcessBackEnd())
    with pytest.raises(InvalidRequest, match="17 rows"):
        await ask(engine, [1] * 17)
    await engine.stop(1)


async def test_a_permit_reserves_before_its_run_and_runs_once():
    back_end = InProcessBackEnd()
    engine = await started(back_end)
    permit = await engine.admit(OWNER, person("ada"), 8)
    with pytest.raises(RuntimeError):
        await permit.run(number_request([1], person("ada")))
    await permit.reserve(4096)
    (await permit.reserve(8))[:] = (5).to_bytes(8, "little")
    version = back_end.versions[FIRST]
    assert version.memory_bytes - version.free_bytes == 8, "what was reserved first is given back"
    check(await permit.run(number_request([5], person("ada"))), [5], "ada")
    with pytest.raises(RuntimeError):
        await permit.run(number_request([5], person("ada")))
    with pytest.raises(RuntimeError):
        await permit.reserve(8)
    permit.release()
    await engine.stop(1)


async def test_a_broken_model_is_failed_with_its_reason_and_the_others_serve():
    events: list[LifecycleEvent] = []
    engine = await started(InProcessBackEnd(), "owner", "broken", events=events)
    broken = engine.describe(ModelRef("broken", "1"))
    assert broken is not None
    assert (broken.state, broken.reason) == ("failed", "it is broken")
    with pytest.raises(ModelNotReady) as refused:
        await engine.admit(ModelRef("broken", "1"), person("ada"), 1)
    assert "it is broken" not in refused.value.sentence, "the reason is for those who may read it"
    await ask(engine, [1])
    assert {(event.activity, event.subject) for event in events} == {
        ("failure", "model broken:1"),
        ("start", "model owner:1"),
    }
    await engine.stop(1)


async def test_a_folder_that_can_t_be_vouched_for_is_not_loaded():
    def refuse(folder: Path) -> str:
        raise DigestRefused(f"{folder.name} has a link")

    back_end = InProcessBackEnd()
    engine = Scheduler(catalog_of("owner"), back_end, EngineSettings(), digest=refuse)
    await engine.start()
    await until(lambda: engine.is_warm)
    description = engine.describe(OWNER)
    assert description is not None
    assert (description.state, description.reason) == ("failed", "1 has a link")
    assert back_end.versions == {}
    await engine.stop(0)


async def test_names_are_resolved_byte_for_byte():
    engine = await started(InProcessBackEnd())
    assert engine.resolve("owner", None) == OWNER
    assert engine.resolve("owner", "1") == OWNER
    for name, version in (("Owner", None), ("owner", "01"), ("owner", "2"), ("nobody", None), ("", None)):
        assert engine.resolve(name, version) is None
    assert engine.describe(ModelRef("owner", "2")) is None
    assert await engine.statistics(ModelRef("owner", "2")) is None
    with pytest.raises(UnknownModel):
        await engine.admit(ModelRef("owner", "2"), person("ada"), 1)
    await engine.stop(1)


async def test_stopping_finishes_what_was_admitted_and_takes_no_more():
    gate = asyncio.Event()
    engine = await started(InProcessBackEnd(gate=gate))
    asked = asyncio.create_task(ask(engine, [1]))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(engine.stop(30))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="stopping") as refused:
        await engine.admit(OWNER, person("late"), 1)
    assert refused.value.retry_after_s
    gate.set()
    assert (await asked).attempts == 1
    await stopping
    description = engine.describe(OWNER)
    assert description is not None
    assert description.state == "unloaded"


async def test_stopping_gives_up_what_does_not_end_in_time():
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end)
    running = asyncio.create_task(ask(engine, [1]))
    await until(lambda: len(back_end.ran) == 1)
    waiting = asyncio.create_task(ask(engine, [2]))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(engine.stop(0.01))
    with pytest.raises(Unavailable):
        await waiting
    gate.set()
    await running
    await stopping


@pytest.mark.parametrize("model", ["once", "owner"])
async def test_what_runs_when_the_server_stops_is_told_to_come_back(model: str):
    """Whether its rows may run twice or not: its worker is ended by us, so that it is no 500 and nobody's offence."""
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end, model, settings=EngineSettings(section_bytes=1 << 20, circuit_offences=1))
    running = asyncio.create_task(ask(engine, [DIES], model=model))
    await until(lambda: len(back_end.ran) == 1)
    stopping = asyncio.create_task(engine.stop(0.01))
    await until(lambda: not back_end.versions)
    gate.set()
    with pytest.raises(Unavailable, match="stopping") as refused:
        await running
    assert refused.value.retry_after_s
    await stopping
    assert len(back_end.ran) == 1


async def test_statistics_count_what_happened():
    engine = await started(InProcessBackEnd())
    await ask(engine, [1, 2])
    with pytest.raises(ModelError):
        await ask(engine, [RAISES])
    found = await engine.statistics(OWNER)
    assert found is not None
    assert (found.inference_count, found.execution_count) == (2, 2)
    assert (found.success.count, found.fail.count, found.queue.count) == (1, 1, 1)
    assert {size: one.count for size, one in found.batches.items()} == {1: 1, 2: 1}
    assert found.last_inference_ms > 0
    await engine.stop(1)


async def test_only_the_wanted_outputs_come_back():
    engine = await started(InProcessBackEnd())
    placed = PlacedTensor("number", "INT64", (1, 1), 0, 8)
    outputs = await raw_ask(engine, "owner", placed, (4).to_bytes(8, "little"), 1)
    assert outputs[0] == ((1, 1), (9).to_bytes(8, "little"))
    await engine.stop(1)


async def test_every_answer_belongs_to_its_question_through_cancels_and_deaths():
    """Many principals, unique numbers, random cancels, deadlines, deaths and raising rows: nothing is mixed up."""
    back_end = InProcessBackEnd()
    settings = EngineSettings(section_bytes=1 << 20, max_queue_requests=1000, circuit_offences=0)
    engine = await started(back_end, settings=settings)
    chooser = random.Random(4)
    outcomes: Counter[str] = Counter()

    async def principal(key: str) -> None:
        for _ in range(60):
            numbers = [chooser.getrandbits(60) for _ in range(chooser.randint(1, 4))]
            fate = chooser.random()
            if fate < 0.03:
                numbers[-1] = DIES
            elif fate < 0.08:
                numbers[-1] = RAISES
            asked = asyncio.create_task(ask(engine, numbers, key))
            if chooser.random() < 0.2:
                for _ in range(chooser.randint(0, 6)):
                    await asyncio.sleep(0)
                asked.cancel()
            try:
                await asked
                outcomes["answered"] += 1
                assert numbers[-1] not in (DIES, RAISES)
            except asyncio.CancelledError:
                outcomes["cancelled"] += 1
            except WorkerDied:
                assert numbers[-1] == DIES
                outcomes["died"] += 1
            except ModelError:
                assert numbers[-1] == RAISES
                outcomes["raised"] += 1

    await asyncio.gather(*(principal(f"principal {index}") for index in range(30)))
    assert sum(outcomes.values()) == 1800
    assert min(outcomes.values()) > 10
    await engine.stop(1)
    room = engine._versions[OWNER].room
    assert (room.held_bytes, room.coming, engine._versions[OWNER].permits) == (0, 0, 0)


async def test_a_full_queue_refuses_whoever_fills_it_and_never_the_innocent():
    """Eve has taken every place; Ada comes, is answered, and Eve's last request is told to come back."""
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end, settings=EngineSettings(section_bytes=1 << 20, max_queue_requests=20))
    running = asyncio.create_task(ask(engine, [0], "eve"))
    await until(lambda: len(back_end.ran) == 1)
    flood = [asyncio.create_task(ask(engine, [number], "eve")) for number in range(20)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="than you"):
        await ask(engine, [1], "eve")
    innocent = [asyncio.create_task(ask(engine, [number], "ada")) for number in range(3)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(running, *innocent)
    ended = await asyncio.gather(*flood, return_exceptions=True)
    refused = [one for one in ended if isinstance(one, Overloaded)]
    assert len(refused) == 3
    assert ended[17:] == refused, "the newest"
    assert all(one.retry_after_s for one in refused)
    await engine.stop(1)


async def test_memory_of_a_caller_who_went_counts_until_no_run_can_read_it():
    """Eve cancels what runs: its bytes are not free, and she can't pile up more than her part by it."""
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end)
    asked = asyncio.create_task(ask(engine, [1], "eve"))
    await until(lambda: len(back_end.ran) == 1)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    room = engine._versions[OWNER].room
    assert room.held_bytes > 0
    gate.set()
    await until(lambda: room.held_bytes == 0)
    await engine.stop(1)


async def test_versions_that_find_no_room_on_the_device_take_turns():
    """One thread for all: while a batch of one version runs, the other's waits; then it is its turn."""
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    settings = EngineSettings(section_bytes=1 << 20, threads=1)
    engine = await started(back_end, "owner", "once", settings=settings)
    asked = [asyncio.create_task(ask(engine, [1], model="owner"))]
    await until(lambda: len(back_end.ran) == 1)
    asked += [asyncio.create_task(ask(engine, [2], model=model)) for model in ("once", "owner", "once")]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(back_end.ran) == 1
    gate.set()
    await asyncio.gather(*asked)
    assert {item.request.inputs[0].name for batch in back_end.ran for item in batch.items} == {"number"}
    with pytest.raises(WorkerDied):
        await ask(engine, [DIES], model="once")
    await ask(engine, [3], model="owner")
    await engine.stop(1)
