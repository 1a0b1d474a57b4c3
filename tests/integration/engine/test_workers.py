"""The whole engine over real worker processes: models of every kind, deaths by kill under load, a clean stop."""

from __future__ import annotations

import asyncio
import logging
import random
import struct
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import torch
from tests.models.tiny_mlp_network import network
from tests.rigs.engine_questions import DIES, HANGS, PRINTS, RAISES, ask, catalog_of, raw_ask, until
from tests.rigs.local_workers import local_workers
from tests.rigs.processes import kill, left_of, workers_of

from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import Cancelled, DeadlineExceeded, ModelError, ModelNotReady, RunTooLong, WorkerDied
from torchgate.contract.tensors import PlacedTensor
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings

OWNER = ModelRef("owner", "1")
SETTINGS = EngineSettings(section_bytes=4 << 20, standbys=1, restart_budget=100, restart_delay_s=0.0)
MODELS = ("owner", "once", "tiny_mlp", "texts", "whole", "broken", "dies_at_load")

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.torch_start]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Scheduler]:
    """All models of the tests, loaded or failed; leave it able to answer."""
    others = workers_of()  # of a server that another file's tests may have in this session
    engine = Scheduler(catalog_of(*MODELS), local_workers(SETTINGS), SETTINGS)
    await engine.start()
    await until(lambda: engine.is_warm, timeout_s=300)
    yield engine
    await engine.stop(5)
    assert left_of([one for one in workers_of() if one not in others]) == []


async def test_models_that_can_t_be_loaded_are_failed_and_the_others_ready(engine: Scheduler):
    states = {one.ref.name: (one.state, one.reason) for one in engine.models()}
    assert states["broken"][0] == states["dies_at_load"][0] == "failed"
    assert "weights.safetensors" in states["broken"][1]
    assert "ended" in states["dies_at_load"][1]
    assert {name for name, (state, _) in states.items() if state == "ready"} == set(MODELS) - {"broken", "dies_at_load"}
    with pytest.raises(ModelNotReady):
        await ask(engine, [1], model="broken")


async def test_answers_equal_torch_run_directly_row_by_row(engine: Scheduler):
    """Batched with strangers or alone, the same question gets what torch gives in this process."""
    rows = torch.randn(24, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network()(rows)

    async def one(index: int, count: int) -> None:
        data = rows[index : index + count].contiguous().numpy().tobytes()
        placed = PlacedTensor("x", "FP32", (count, 16), 0, len(data))
        ((shape, answer),) = await raw_ask(engine, "tiny_mlp", placed, data, count)
        assert shape == (count, 4)
        got = torch.frombuffer(bytearray(answer), dtype=torch.float32).reshape(count, 4)
        torch.testing.assert_close(got, expected[index : index + count], rtol=1e-5, atol=1e-6)

    await asyncio.gather(*(one(index, 1 + index % 3) for index in range(20)))
    await one(0, 8)


async def test_texts_of_any_length_come_back_though_nobody_knew_the_length_before(engine: Scheduler):
    texts = ["Grüße".encode(), b"", b"x" * 300]
    data = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    placed = PlacedTensor("text", "BYTES", (1, 3), 0, len(data))
    for _ in range(2):  # the second time the engine knows what to expect
        ((shape, answer),) = await raw_ask(engine, "texts", placed, data, 1)
        assert shape == (1, 3)
        assert answer == b"".join(struct.pack("<I", 1000 * len(text)) + text * 1000 for text in texts)


async def test_an_answer_that_can_never_fit_is_an_error_and_the_worker_lives_on(engine: Scheduler):
    """Two megabytes are for answers; this one would have three."""
    data = struct.pack("<I", 3000) + b"x" * 3000
    with pytest.raises(ModelError, match="room"):
        await raw_ask(engine, "texts", PlacedTensor("text", "BYTES", (1, 1), 0, len(data)), data, 1)
    small = struct.pack("<I", 1) + b"x"
    await raw_ask(engine, "texts", PlacedTensor("text", "BYTES", (1, 1), 0, len(small)), small, 1)


async def test_a_model_without_batches_gets_whole_shapes(engine: Scheduler):
    data = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
    placed = PlacedTensor("x", "FP32", (2, 3), 0, len(data))
    answers = await asyncio.gather(*(raw_ask(engine, "whole", placed, data, 1) for _ in range(4)))
    assert answers == [[((2,), struct.pack("<2f", 6, 15))]] * 4


async def test_what_a_model_prints_is_logged_cut_and_bounded(engine: Scheduler, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "torchgate.worker"):
        await ask(engine, [PRINTS])
        await until(lambda: any("Grüße" in record.getMessage() for record in caplog.records))
        await asyncio.sleep(0.1)
    lines = [record.getMessage() for record in caplog.records if record.name == "torchgate.worker"]
    assert lines[0].startswith("owner:1/")
    assert len(lines) <= 101


async def test_only_the_request_that_kills_its_worker_gets_the_error(engine: Scheduler):
    asked = [ask(engine, [number], f"p{number}") for number in (1, 2, DIES, 3, RAISES)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(results[2], WorkerDied)
    assert type(results[4]) is ModelError
    assert [getattr(one, "attempts", None) for one in (results[0], results[1], results[3])] == [2, 2, 2]


async def test_only_the_request_that_hangs_is_told_so(engine: Scheduler):
    asked = [ask(engine, [number], f"p{number}") for number in (1, HANGS, 3)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(results[1], RunTooLong)
    assert [getattr(one, "attempts", None) for one in (results[0], results[2])] == [2, 2]


async def test_a_caller_s_deadline_kills_no_worker(engine: Scheduler):
    await ask(engine, [1])
    before = {process.pid for process in workers_of()}
    with pytest.raises(DeadlineExceeded):
        await ask(engine, [HANGS, 5], timeout_s=0.1)
    assert {process.pid for process in workers_of()} == before
    # The model's own limit ends it; until then its memory is not given to anybody.
    await ask(engine, [2])


async def test_rows_that_must_not_run_twice_get_the_error_and_the_model_serves_on(engine: Scheduler):
    asked = [ask(engine, [number], model="once") for number in (1, DIES, 2)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in results] == [WorkerDied] * 3
    assert "not run again" in str(results[0])
    assert (await ask(engine, [3], model="once")).attempts == 1


async def test_every_answer_belongs_to_its_question_while_workers_are_killed(engine: Scheduler):
    """Many principals, unique numbers, random cancels; the operating system kills workers. Nobody is mixed up, and
    nobody but the cancelled goes without an answer."""
    chooser = random.Random(11)
    outcomes: Counter[str] = Counter()
    total, kills = 20 * 60, 3

    async def principal(key: str) -> None:
        for _ in range(60):
            numbers = [chooser.getrandbits(60) for _ in range(chooser.randint(1, 4))]
            asked = asyncio.create_task(ask(engine, numbers, key, timeout_s=300))
            if chooser.random() < 0.15:
                await asyncio.sleep(chooser.random() * 0.003)
                asked.cancel()
            try:
                await asked
                outcomes["answered"] += 1
            except asyncio.CancelledError:
                outcomes["cancelled"] += 1

    async def killer() -> None:
        replicas = engine._back_end._versions[engine._versions[OWNER].artifact.activation]  # type: ignore[attr-defined]
        for part in range(1, kills + 1):
            await until(lambda part=part: sum(outcomes.values()) >= total * part // (kills + 2) and replicas.live, 300)
            kill(next(iter(replicas.live)).pid)

    await asyncio.gather(killer(), *(principal(f"principal {index}") for index in range(20)))
    assert sum(outcomes.values()) == total
    assert outcomes["answered"] > total // 2
    room = engine._versions[OWNER].room
    assert (room.held_bytes, room.coming) == (0, 0)


async def test_random_poison_among_many_principals_hurts_nobody_else(engine: Scheduler):
    """Two principals send rows that raise, kill or hang, in random batches with those of eight others."""
    chooser = random.Random(5)
    poison = {RAISES: ModelError, DIES: WorkerDied, HANGS: RunTooLong}
    to_come = [RAISES, DIES, RAISES, HANGS]

    async def innocent(key: str) -> None:
        for _ in range(30):
            await ask(engine, [chooser.getrandbits(60) for _ in range(chooser.randint(1, 3))], key, timeout_s=300.0)

    async def poisoner(key: str) -> None:
        while to_come:
            number = to_come.pop()
            with pytest.raises(poison[number]) as failed:
                await ask(engine, [chooser.getrandbits(60), number], key, timeout_s=300.0)
            assert type(failed.value) is poison[number]

    await asyncio.gather(*(innocent(f"innocent {one}") for one in range(8)), poisoner("eve"), poisoner("mallory"))
    description = engine.describe(OWNER)
    assert description is not None
    assert (description.state, description.open_circuits) == ("ready", 0)


async def test_a_cancelled_run_ends_no_worker_and_the_next_caller_is_served(engine: Scheduler):
    await ask(engine, [1])
    before = {process.pid for process in workers_of()}
    running = asyncio.create_task(ask(engine, [HANGS], "eve", client_ids=("job",)))
    dispatcher = engine._versions[OWNER].dispatcher
    await until(lambda: engine._back_end.free_replicas(dispatcher._artifact.activation) == 0)
    assert await engine.cancel("eve", "job") == 1
    with pytest.raises(Cancelled):
        await running
    assert {process.pid for process in workers_of()} == before
    await ask(engine, [2])  # after the model's own limit has ended the run


async def test_a_storm_of_cancelled_requests_leaves_nothing_behind(engine: Scheduler):
    await ask(engine, [1])
    for _ in range(5):
        storm = [asyncio.create_task(ask(engine, [index], f"p{index}")) for index in range(200)]
        await asyncio.sleep(0)
        for one in storm[::2]:
            one.cancel()
        results = await asyncio.gather(*storm, return_exceptions=True)
        assert {type(one) for one in results[::2]} == {asyncio.CancelledError}
        assert not any(isinstance(one, BaseException) for one in results[1::2])
    replicas = engine._back_end._versions[engine._versions[OWNER].artifact.activation]  # type: ignore[attr-defined]
    await until(lambda: replicas._workers.memory.inputs.free_bytes == replicas._workers.memory.inputs.length)
    await until(
        lambda: replicas._workers.memory.outputs.memory.free_bytes == replicas._workers.memory.outputs.memory.length
    )
