"""Requests taken back by what their callers call them, wherever their rows are."""

from __future__ import annotations

import asyncio

import pytest
from tests.fakes.in_process_back_end import InProcessBackEnd
from tests.rigs.engine_questions import DIES, HANGS, ask, catalog_of, until

from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import Cancelled
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings

OWNER = ModelRef("owner", "1")


async def started(back_end: InProcessBackEnd) -> Scheduler:
    """An engine that has loaded the owner model."""
    engine = Scheduler(
        catalog_of("owner", "once"), back_end, EngineSettings(section_bytes=1 << 20), digest=lambda _: "sha256:0"
    )
    await engine.start()
    await until(lambda: engine.is_warm)
    return engine


def asking(engine: Scheduler, numbers: list[int], key: str, *ids: str, model: str = "owner") -> asyncio.Task[object]:
    """A question under way."""
    return asyncio.create_task(ask(engine, numbers, key, client_ids=ids, model=model))


async def test_a_request_that_waits_is_taken_back_and_never_starts():
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end)
    running = asking(engine, [1], "bob")
    await until(lambda: len(back_end.ran) == 1)
    waiting = asking(engine, [2], "ada", "job-7")
    await until(lambda: engine._versions[OWNER].dispatcher.waiting == 1)
    assert await engine.cancel("ada", "job-7") == 1
    with pytest.raises(Cancelled, match="cancelled by its caller"):
        await waiting
    gate.set()
    await running
    assert len(back_end.ran) == 1
    assert back_end.versions[2].free_bytes == back_end.versions[2].memory_bytes
    await engine.stop(1)


async def test_a_request_that_runs_is_answered_at_once_and_its_companion_gets_its_own_answer():
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end)
    mine, other = asking(engine, [1], "ada", "job"), asking(engine, [2], "bob", "job")
    await until(lambda: len(back_end.ran) == 1)
    assert len(back_end.ran[0].items) == 2
    assert await engine.cancel("ada", "job") == 1
    with pytest.raises(Cancelled):
        await mine  # the batch has not ended: the gate is shut
    gate.set()
    await other
    assert back_end.versions[2].free_bytes == back_end.versions[2].memory_bytes
    await engine.stop(1)


async def test_a_request_in_the_line_of_quarantine_is_taken_back_and_does_not_run_again():
    back_end = InProcessBackEnd()
    engine = await started(back_end)
    guilty, companion = asking(engine, [HANGS], "eve"), asking(engine, [2], "ada", "job")
    await until(lambda: len(back_end.ran) == 2)
    assert await engine.cancel("ada", "job") == 1
    with pytest.raises(Cancelled):
        await companion
    await asyncio.wait([guilty])
    assert [len(batch.items) for batch in back_end.ran] == [2, 1]
    await engine.stop(1)


async def test_nobody_takes_back_a_request_of_somebody_else():
    """Eve knows Ada's id, and sends it as her own."""
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end)
    mine = asking(engine, [1], "ada", "job")
    await until(lambda: len(back_end.ran) == 1)
    assert await engine.cancel("eve", "job") == 0
    assert await engine.cancel("ada", "another") == 0
    gate.set()
    await mine
    await engine.stop(1)


async def test_all_requests_of_one_id_are_taken_back_by_either_of_their_ids_on_any_model():
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end)
    asked = [
        asking(engine, [1], "ada", "header", "body"),
        asking(engine, [2], "ada", "body", model="once"),
        asking(engine, [3], "ada", "header"),
    ]
    await until(lambda: sum(len(batch.items) for batch in back_end.ran) == 3)
    assert await engine.cancel("ada", "body") == 2
    assert await engine.cancel("ada", "body") == 0
    assert [type(one) for one in await asyncio.gather(*asked[:2], return_exceptions=True)] == [Cancelled, Cancelled]
    gate.set()
    await asked[2]
    await engine.stop(1)


async def test_nothing_is_kept_of_requests_that_have_ended():
    """Answered, failed, taken back, hung up: none leaves its id behind."""
    gate = asyncio.Event()
    back_end = InProcessBackEnd(gate=gate)
    engine = await started(back_end)
    gate.set()
    await ask(engine, [1], client_ids=("answered", "twice"))
    gate.clear()
    hung_up = asking(engine, [2], "ada", "hung up")
    await until(lambda: len(engine._shared.client_ids) == 1)
    hung_up.cancel()
    gate.set()
    guilty = asking(engine, [DIES], "ada", "failed")
    await asyncio.wait([hung_up, guilty])
    assert len(engine._shared.client_ids) == 0
    await engine.stop(1)
