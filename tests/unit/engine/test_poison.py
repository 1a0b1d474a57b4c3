"""Random poison among many principals: each guilty row fails alone, and nobody's answer is another's."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.in_process_back_end import InProcessBackEnd, numbers_of
from tests.rigs.engine_questions import DIES, HANGS, RAISES, ask, catalog_of, until

from torchgate.contract.errors import CircuitOpen, DeadlineExceeded, ModelError, RunTooLong, TorchgateError, WorkerDied
from torchgate.engine.catalog import Catalog
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings

ERRORS = {RAISES: ModelError, DIES: WorkerDied, HANGS: RunTooLong}
PRINCIPALS = 6

Question = tuple[int, int, int | None]
"""(principal, rows, poison or none); its numbers are made of its place, so that no two questions are alike."""

questions = st.lists(
    st.tuples(
        st.integers(0, PRINCIPALS - 1),
        st.integers(1, 3),
        st.sampled_from([None, None, None, RAISES, DIES, HANGS]),
    ),
    min_size=1,
    max_size=30,
)
waves = st.lists(questions, min_size=1, max_size=3)
"""Questions that are asked at once; the next ones when all of them are answered."""


def impatient(catalog: Catalog, replicas: int, max_run_s: float = 0.001) -> Catalog:
    """The same models, but a run that hangs is ended at once."""
    entries = {
        ref: msgspec.structs.replace(
            entry, artifact=msgspec.structs.replace(entry.artifact, max_run_s=max_run_s, replicas=replicas)
        )
        for ref, entry in catalog.entries.items()
    }
    return Catalog(entries, catalog.defaults)


class Asked:
    """A question and what came of it."""

    def __init__(self, key: str, numbers: list[int], poison: int | None) -> None:
        self.key = key
        self.numbers = numbers
        self.poison = poison
        self.error: TorchgateError | None = None

    async def ask(self, engine: Scheduler, model: str) -> None:
        """`ask` itself compares the answer with the question, and its owner with the asker."""
        try:
            await ask(engine, self.numbers, self.key, model=model)
        except TorchgateError as error:
            self.error = error


async def asked_of(
    model: str, waves: list[list[Question]], *, replicas: int, offences: int
) -> tuple[list[Asked], InProcessBackEnd]:
    """All questions asked of a fresh engine, which holds nothing afterwards."""
    back_end = InProcessBackEnd()
    engine = Scheduler(
        impatient(catalog_of(model), replicas),
        back_end,
        EngineSettings(section_bytes=1 << 20, circuit_offences=offences, circuit_pause_s=3600.0),
        digest=lambda _: "sha256:0",
    )
    await engine.start()
    await until(lambda: engine.is_warm)
    everything: list[Asked] = []
    for wave in waves:
        some = []
        for principal, rows, poison in wave:
            first = 1000 * (len(everything) + len(some) + 1)
            numbers = [*range(first, first + rows - 1), first + rows if poison is None else poison]
            some.append(Asked(f"p{principal}", numbers, poison))
        await asyncio.gather(*(one.ask(engine, model) for one in some))
        everything += some
    for version in back_end.versions.values():
        assert version.free_bytes == version.memory_bytes
    await engine.stop(1)
    return everything, back_end


def runs_of(back_end: InProcessBackEnd) -> Counter[str]:
    """How often each request ran, in whatever batch."""
    return Counter(item.request.request_id for batch in back_end.ran for item in batch.items)


@given(waves, st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_every_innocent_gets_its_answer_and_every_guilty_request_its_own_error(
    waves: list[list[Question]], replicas: int
) -> None:
    everything, back_end = asyncio.run(asked_of("owner", waves, replicas=replicas, offences=0))
    for one in everything:
        assert type(one.error) is ERRORS.get(one.poison or 0, type(None)), one.numbers
    assert max(runs_of(back_end).values()) <= 2


@given(waves, st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_rows_that_must_not_run_twice_never_do_whatever_is_in_their_batch(
    waves: list[list[Question]], replicas: int
) -> None:
    everything, back_end = asyncio.run(asked_of("once", waves, replicas=replicas, offences=0))
    assert set(runs_of(back_end).values()) == {1}
    lost = {
        item.request.principal.key
        for batch in back_end.ran
        for item in batch.items
        if any({DIES, HANGS} & set(numbers_of(one)) for one in batch.items)
    }
    for one in everything:
        if one.poison is None and one.error is not None:
            assert isinstance(one.error, WorkerDied | RunTooLong)
            assert one.key in lost  # its batch held what ended it
        elif one.poison is not None:
            assert isinstance(one.error, ModelError)


@given(waves, st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_circuits_refuse_no_principal_that_never_ended_a_worker(waves: list[list[Question]], replicas: int) -> None:
    """With two offences allowed, and whoever shares batches with the guilty."""
    everything, _ = asyncio.run(asked_of("owner", waves, replicas=replicas, offences=2))
    kills = Counter(one.key for one in everything if one.poison in (DIES, HANGS))
    for one in everything:
        if isinstance(one.error, CircuitOpen):
            assert kills[one.key] >= 2
        else:
            assert type(one.error) is ERRORS.get(one.poison or 0, type(None)), one.numbers
    proven = Counter(one.key for one in everything if isinstance(one.error, WorkerDied | RunTooLong))
    assert all(count <= 2 for count in proven.values())  # the second opens it, and nothing of it runs any more


async def test_a_deadline_that_passes_in_the_line_of_quarantine_is_told_at_once_and_its_rows_never_start() -> None:
    """Ada's batch hung; while Eve's row hangs again, alone, Ada's time is over."""
    back_end = InProcessBackEnd()
    catalog = impatient(catalog_of("owner"), 1, max_run_s=0.4)
    engine = Scheduler(catalog, back_end, EngineSettings(section_bytes=1 << 20), digest=lambda _: "sha256:0")
    await engine.start()
    await until(lambda: engine.is_warm)
    eve = asyncio.create_task(ask(engine, [HANGS], "eve"))
    ada = asyncio.create_task(ask(engine, [1], "ada", timeout_s=0.6))
    with pytest.raises(DeadlineExceeded):
        await ada
    assert not eve.done()  # it is told before the run that it waits for is over
    with pytest.raises(RunTooLong):
        await eve
    await ask(engine, [2], "bob")
    assert [[item.request.principal.key for item in batch.items] for batch in back_end.ran] == [
        ["eve", "ada"],
        ["eve"],
        ["bob"],
    ]
    await engine.stop(1)
