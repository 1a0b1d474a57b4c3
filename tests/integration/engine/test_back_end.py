"""What the engine relies on in a back end: one suite, run against local workers and against the fake of the tests."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
import pytest_asyncio
from tests.fakes.in_process_back_end import InProcessBackEnd
from tests.rigs.engine_questions import DIES, HANGS, RAISES, catalog_of, check, number_request, person, until
from tests.rigs.local_workers import local_workers

from torchgate.contract.back_end import Artifact, BackEnd, Batch, BatchAnswer, BatchItem, BatchLost, ItemAnswer
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import BodyTooLarge, ModelError, ModelNotReady, Overloaded
from torchgate.contract.inference import InferenceResponse, ModelState, Timing
from torchgate.engine.settings import EngineSettings

OWNER, BROKEN = 1, 2  # activations
SETTINGS = EngineSettings(section_bytes=1 << 20, standbys=1)
INPUT_BYTES = SETTINGS.section_bytes // 2

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900), pytest.mark.torch_start]


class Subject:
    """A back end, and what it told of its versions."""

    def __init__(self, back_end: BackEnd) -> None:
        self.back_end = back_end
        self.told: list[tuple[int, ModelState, str, int]] = []
        self._ids = itertools.count(1)

    async def activate(self, activation: int, artifact: Artifact) -> None:
        """Load it under a number of the test's own."""
        numbered = msgspec.structs.replace(artifact, activation=activation)
        await self.back_end.activate(numbered, lambda *told: self.told.append((activation, *told)))

    def last(self, activation: int) -> tuple[ModelState, str]:
        return next((state, reason) for told, state, reason, _ in reversed(self.told) if told == activation)

    def batch(self, *questions: Sequence[int]) -> Batch:
        items = []
        for index, numbers in enumerate(questions):
            slot = self.back_end.reserve(OWNER, 8 * len(numbers))
            slot.view[:] = struct.pack(f"<{len(numbers)}q", *numbers)
            items.append(BatchItem(number_request(numbers, person(f"p{index}")), slot))
        return Batch(next(self._ids), OWNER, tuple(items), sum(map(len, questions)))

    async def run(self, *questions: Sequence[int], quarantined: bool = False) -> BatchAnswer:
        """Run questions as one batch, once a replica is free; release the inputs."""
        await until(lambda: self.back_end.free_replicas(OWNER) > 0)
        batch = self.batch(*questions)
        try:
            return await self.back_end.run(batch, quarantined=quarantined)
        finally:
            for item in batch.items:
                item.slot.release()


def check_answers(answer: BatchAnswer, *questions: Sequence[int]) -> None:
    assert len(answer.items) == len(questions)
    for index, (item, numbers) in enumerate(zip(answer.items, questions, strict=True)):
        assert isinstance(item, ItemAnswer)
        check(InferenceResponse(item.outputs, item.memory.view, Timing()), numbers, f"p{index}")
        item.memory.release()


def artifact(name: str) -> Artifact:
    return catalog_of(name).entries[ModelRef(name, "1")].artifact


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["in process", "local workers"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    back_end: BackEnd = InProcessBackEnd(INPUT_BYTES) if request.param == "in process" else local_workers(SETTINGS)
    subject = Subject(back_end)
    back_end.expect([artifact("owner"), artifact("broken")])
    await subject.activate(OWNER, artifact("owner"))
    yield subject
    await back_end.stop()


async def test_a_version_is_ready_when_activate_returns(subject: Subject):
    assert subject.last(OWNER) == ("ready", "")
    assert subject.back_end.free_replicas(OWNER) == 1


async def test_each_request_of_a_batch_gets_its_own_rows(subject: Subject):
    questions = ([1, 2], [3], [-4, 5, 2**60])
    check_answers(await subject.run(*questions), *questions)


async def test_answers_stay_while_others_run(subject: Subject):
    """An answer's memory is its own until it is released."""
    first = await subject.run([1, 2, 3])
    check_answers(await subject.run([7]), [7])
    check_answers(first, [1, 2, 3])


async def test_a_request_that_raises_fails_alone(subject: Subject):
    answer = await subject.run([1], [RAISES], [2])
    assert isinstance(answer.items[1], ModelError)
    assert "marked" not in answer.items[1].sentence
    assert "marked" in answer.items[1].detail
    for index, number in ((0, 1), (2, 2)):
        item = answer.items[index]
        assert isinstance(item, ItemAnswer)
        check(InferenceResponse(item.outputs, item.memory.view, Timing()), [number], f"p{index}")
        item.memory.release()


async def test_memory_is_bounded_and_comes_back(subject: Subject):
    back_end = subject.back_end
    with pytest.raises(BodyTooLarge):
        back_end.reserve(OWNER, INPUT_BYTES + 1)
    slot = back_end.reserve(OWNER, INPUT_BYTES)
    assert len(slot.view) == INPUT_BYTES
    with pytest.raises(Overloaded):
        back_end.reserve(OWNER, 1)
    slot.release()
    slot.release()
    back_end.reserve(OWNER, INPUT_BYTES).release()


async def test_what_runs_a_batch_may_die_and_is_replaced(subject: Subject):
    with pytest.raises(BatchLost) as lost:
        await subject.run([1], [DIES])
    assert not lost.value.hung
    check_answers(await subject.run([4]), [4])
    assert subject.last(OWNER) == ("ready", "")


async def test_suspects_run_alone_whatever_the_replicas_do(subject: Subject):
    with pytest.raises(BatchLost):
        await subject.run([DIES])
    answers = [await subject.back_end.run(subject.batch([number]), quarantined=True) for number in (5, 6)]
    check_answers(answers[0], [5])
    check_answers(answers[1], [6])
    with pytest.raises(BatchLost):
        await subject.back_end.run(subject.batch([DIES]), quarantined=True)
    check_answers(await subject.run([7]), [7])


async def test_a_run_beyond_max_run_s_is_ended_and_said_to_hang(subject: Subject):
    with pytest.raises(BatchLost) as lost:
        await subject.run([HANGS])
    assert lost.value.hung
    check_answers(await subject.run([8]), [8])


async def test_more_batches_than_replicas_all_run(subject: Subject):
    questions = [[number] for number in range(5)]
    await until(lambda: subject.back_end.free_replicas(OWNER) > 0)
    answers = await asyncio.gather(*(subject.back_end.run(subject.batch(one)) for one in questions))
    for answer, numbers in zip(answers, questions, strict=True):
        check_answers(answer, numbers)


async def test_a_version_that_can_t_be_loaded_is_failed_with_a_reason(subject: Subject):
    await subject.activate(BROKEN, artifact("broken"))
    state, reason = subject.last(BROKEN)
    assert state == "failed"
    assert reason
    assert subject.back_end.free_replicas(BROKEN) == 0


async def test_a_version_that_was_unloaded_is_gone(subject: Subject):
    back_end = subject.back_end
    batch = subject.batch([1])
    await back_end.deactivate(OWNER)
    assert back_end.free_replicas(OWNER) == 0
    with pytest.raises(ModelNotReady):
        await back_end.run(batch)
    await subject.activate(OWNER, artifact("owner"))
    check_answers(await subject.run([9]), [9])
