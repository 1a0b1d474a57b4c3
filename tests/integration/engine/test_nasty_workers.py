"""Models that do harm in real workers, beside an innocent one: its answers stay right and its worker lives."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from tests.rigs.engine_questions import ask, catalog_of, until
from tests.rigs.local_workers import local_workers
from tests.rigs.processes import is_alive
from tests.rigs.wine import is_wine

from torchgate.contract.errors import ModelError, RunTooLong, TorchgateError, WorkerDied
from torchgate.contract.inference import Timing
from torchgate.engine.catalog import Catalog
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings

ALLOCATES, PRINTS, BREEDS, CLOSES, GARBLES, STANDS, SPINS, TENSORS = -1, -2, -3, -4, -5, -6, -7, -8
FILLS, MOVES, MUMBLES, MUTES, EXITS, INTERRUPTS, STARVES, SPINS_IN_C, BOMBS, DETACHES = range(-18, -8)
FOLDER = Path(__file__).parents[2] / "nasty_models"
MIB = 1 << 20
SETTINGS = EngineSettings(
    section_bytes=4 << 20,
    standbys=1,
    restart_budget=100,
    restart_delay_s=0.0,
    circuit_offences=0,
    worker_environment=("TORCHGATE_TEST_FILE",),
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1200), pytest.mark.torch_start]


@pytest.fixture(scope="module")
def pids_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nasty") / "pids"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(pids_file: Path) -> AsyncIterator[Scheduler]:
    """The owner model, who is innocent, and the nasty one."""
    innocent, nasty = catalog_of("owner"), catalog_of("nasty", folder=FOLDER)
    catalog = Catalog({**innocent.entries, **nasty.entries}, {**innocent.defaults, **nasty.defaults})
    os.environ["TORCHGATE_TEST_FILE"] = str(pids_file)
    engine = Scheduler(catalog, local_workers(SETTINGS, grouped=True), SETTINGS)
    await engine.start()
    await until(lambda: engine.is_warm, timeout_s=300)
    yield engine
    await engine.stop(5)
    del os.environ["TORCHGATE_TEST_FILE"]


@asynccontextmanager
async def nobody_else_harmed(engine: Scheduler) -> AsyncIterator[None]:
    """Inside, the innocent model is asked all the time: every answer is right and from one and the same worker."""
    first = (await ask(engine, [1])).worker
    is_over = False
    asked = 0

    async def keep_asking() -> None:
        nonlocal asked
        while not is_over:
            assert (await ask(engine, [asked, asked + 1], timeout_s=200)).worker == first
            asked += 1
            await asyncio.sleep(0.005)

    asking = asyncio.create_task(keep_asking())
    try:
        yield
    finally:
        is_over = True
        await asking
    assert asked > 3


async def harm(engine: Scheduler, number: int, *expected: type[TorchgateError]) -> None:
    """Its caller gets an error, the innocent notice nothing, and the nasty model is there again for its next caller."""
    async with nobody_else_harmed(engine):
        with pytest.raises(expected):
            await ask(engine, [number], "eve", model="nasty")
    await until(lambda: is_ready(engine), timeout_s=300)
    await ask(engine, [4], "ada", model="nasty")


def is_ready(engine: Scheduler) -> bool:
    ref = engine.resolve("nasty", None)
    assert ref is not None
    description = engine.describe(ref)
    return description is not None and description.ready_workers > 0


@pytest.mark.linux("Wine accepts a job's memory limit and does not hold it")
@pytest.mark.parametrize("number", [ALLOCATES, TENSORS])
async def test_allocating_without_end_ends_at_the_limit(engine: Scheduler, number: int):
    free = psutil.virtual_memory().available
    await harm(engine, number, ModelError, WorkerDied)
    assert psutil.virtual_memory().available > free - 1024 * MIB


@pytest.mark.linux("its pipe under Wine moves some MB a second: 200 MB outlive max_run_s there")
async def test_200_mb_of_output_cost_the_server_neither_memory_nor_its_other_callers(
    engine: Scheduler, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "torchgate.worker")
    before = psutil.Process().memory_info().rss
    async with nobody_else_harmed(engine):
        await ask(engine, [PRINTS], "eve", model="nasty")
    assert psutil.Process().memory_info().rss - before < 32 * MIB
    assert 0 < sum("nobody wants" in line for line in caplog.messages) <= 200


def written_pids(file: Path) -> list[int]:
    return [int(word) for word in file.read_text(encoding="utf-8").split()]


async def test_what_it_started_dies_with_it(engine: Scheduler, pids_file: Path):
    await harm(engine, BREEDS, RunTooLong, WorkerDied)
    pids = written_pids(pids_file)
    assert len(pids) == 5
    await until(lambda: not any(is_alive(pid) for pid in pids))


@pytest.mark.linux("forks")
@pytest.mark.parametrize("number", [BOMBS, DETACHES])
async def test_what_has_left_its_session_dies_with_the_worker_however_many_there_are(
    engine: Scheduler, pids_file: Path, number: int
):
    await harm(engine, number, RunTooLong, WorkerDied)
    pids = written_pids(pids_file)
    assert pids
    await until(lambda: not any(is_alive(pid) for pid in pids))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (CLOSES, WorkerDied),
        (GARBLES, WorkerDied),
        pytest.param(
            STANDS, RunTooLong, marks=pytest.mark.linux("signals end nothing on Windows: TerminateJobObject does")
        ),
        (SPINS, RunTooLong),
        (SPINS_IN_C, RunTooLong),
        (EXITS, WorkerDied),
        (INTERRUPTS, WorkerDied),
        pytest.param(STARVES, WorkerDied, marks=pytest.mark.linux("resource limits")),
    ],
)
async def test_a_worker_that_does_harm_to_itself_ends_alone_and_its_caller_hears_how(
    engine: Scheduler, number: int, expected: type[TorchgateError]
):
    """Channel closed or garbled, signals ignored, threads or one call of C that never end, exits and own limits."""
    if number == CLOSES and is_wine():
        pytest.skip("Wine: the process of a worker's console inherits its channel, and keeps it open")
    await harm(engine, number, expected)


@pytest.mark.linux("finds the section in /proc")
async def test_a_section_filled_with_rubbish_costs_its_own_model_alone(engine: Scheduler):
    """The inputs and answers that others have there are rubbish then: each gets an error or an answer, nobody hangs."""
    asked = [ask(engine, [FILLS], key, model="nasty") for key in ("eve", "ada", "bob")]
    async with nobody_else_harmed(engine):
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    # What an answer says cannot be known, that there is one can.
    assert all(isinstance(one, Timing | TorchgateError | AssertionError | struct.error) for one in outcomes)
    await until(lambda: is_ready(engine), timeout_s=300)
    await until_right(engine)


async def until_right(engine: Scheduler) -> None:
    """The worker that did it has ended, and another answers."""
    async with asyncio.timeout(240):
        while True:
            with suppress(TorchgateError, AssertionError, struct.error):
                await ask(engine, [4], "ada", model="nasty")
                return


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(MOVES, marks=pytest.mark.linux("umask and nice")),
        pytest.param(MUMBLES, marks=pytest.mark.linux("its pipe under Wine is slow")),
        MUTES,
    ],
)
async def test_what_a_model_changes_of_its_own_process_is_its_own_business(engine: Scheduler, number: int):
    """Its answers go on, and the server is where and what it was."""
    before = surroundings()
    async with nobody_else_harmed(engine):
        await ask(engine, [number], "eve", model="nasty")
        for other in range(100):
            await ask(engine, [other], "ada", model="nasty")
    assert surroundings() == before


def surroundings() -> tuple[object, ...]:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask, Path.cwd(), dict(os.environ)
