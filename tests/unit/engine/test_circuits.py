"""The circuit breaker in the engine: who is refused at the door, who runs alone, and who is never counted."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest
from tests.fakes.in_process_back_end import InProcessBackEnd
from tests.rigs.engine_questions import DIES, HANGS, RAISES, ask, catalog_of, number_request, person, until

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.clock import monotonic_s
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import (
    CircuitOpen,
    DeadlineExceeded,
    ModelError,
    Overloaded,
    RunTooLong,
    TorchgateError,
    WorkerDied,
)
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings

OWNER = ModelRef("owner", "1")
ACTIVATION = 2  # after `once`
PAUSE_S = 30.0


class MovedClock:
    """Monotonic time that a test can move forward."""

    def __init__(self) -> None:
        self.moved_s = 0.0

    def __call__(self) -> float:
        return monotonic_s() + self.moved_s


class Rig:
    """An engine over a back end in this process, its clock, and what the auditor was told."""

    def __init__(self, gate: asyncio.Event | None = None, offences: int = 3) -> None:
        self.back_end = InProcessBackEnd(gate=gate)
        self.clock = MovedClock()
        self.told: deque[LifecycleEvent] = deque()
        settings = EngineSettings(section_bytes=1 << 20, circuit_offences=offences, circuit_pause_s=PAUSE_S)
        self.engine = Scheduler(
            catalog_of("owner", "once"),
            self.back_end,
            settings,
            self.clock,
            digest=lambda _: "sha256:0",
            on_lifecycle=self.told.append,
        )

    async def start(self) -> Rig:
        await self.engine.start()
        await until(lambda: self.engine.is_warm)
        self.told.clear()
        return self

    async def ask(self, *numbers: int, key: str = "ada", model: str = "owner", timeout_s: float = 30.0) -> object:
        """The answer, or the error."""
        try:
            return await ask(self.engine, numbers, key, model=model, timeout_s=timeout_s + self.clock.moved_s)
        except TorchgateError as error:
            return error

    async def open_circuit(self, key: str = "eve") -> None:
        for _ in range(3):
            assert isinstance(await self.ask(DIES, key=key), WorkerDied)
        assert self.open == 1

    @property
    def open(self) -> int:
        description = self.engine.describe(OWNER)
        assert description is not None
        return description.open_circuits


async def test_who_kills_three_workers_is_refused_and_nobody_else_is():
    rig = await Rig().start()
    await rig.open_circuit()
    ran = len(rig.back_end.ran)
    refused = await rig.ask(1, key="eve")
    assert isinstance(refused, CircuitOpen)
    assert refused.retry_after_s == pytest.approx(PAUSE_S, abs=1.0)
    assert len(rig.back_end.ran) == ran  # at the door: nothing of it ran
    assert not isinstance(await rig.ask(2, key="ada"), TorchgateError)
    assert not isinstance(await rig.ask(2, key="eve", model="once"), TorchgateError)  # of this model alone
    assert [(event.activity, event.subject) for event in rig.told] == [("failure", "model owner:1")]
    assert "principal eve" in rig.told[0].sentence
    await rig.engine.stop(1)


async def test_whoever_watches_the_engine_hears_of_open_circuits():
    """A gate in another process shows what it was told last."""
    rig = await Rig().start()
    heard: list[int] = []
    rig.engine.watch(lambda: heard.append(rig.open))
    await rig.open_circuit()
    assert heard[-1] == 1
    rig.clock.moved_s += PAUSE_S
    await rig.ask(1, key="eve")
    assert heard[-1] == 0
    await rig.engine.stop(1)


async def test_companions_of_guilty_rows_are_never_counted():
    """Ada shares each of Eve's batches: each is lost, and only Eve is refused in the end."""
    rig = await Rig().start()
    for _ in range(3):
        eve, ada = await asyncio.gather(rig.ask(DIES, key="eve"), rig.ask(5, key="ada"))
        assert isinstance(eve, WorkerDied)
        assert not isinstance(ada, TorchgateError)
    circuits = rig.engine._versions[OWNER].circuits
    assert isinstance(await rig.ask(1, key="eve"), CircuitOpen)
    assert not circuits.is_suspicious("ada")
    await rig.engine.stop(1)


async def test_rows_that_raise_are_no_offence():
    rig = await Rig().start()
    for _ in range(6):
        assert isinstance(await rig.ask(RAISES, key="eve"), ModelError)
    assert not isinstance(await rig.ask(1, key="eve"), TorchgateError)
    assert rig.open == 0
    await rig.engine.stop(1)


@pytest.mark.parametrize("number", [1, RAISES])
async def test_after_the_pause_one_request_runs_alone_and_closes_the_circuit(number: int):
    """A trial that the model answers by an exception ended no worker: it closes the circuit, too."""
    rig = await Rig().start()
    await rig.open_circuit()
    rig.clock.moved_s += PAUSE_S
    trial = await rig.ask(number, key="eve")
    assert isinstance(trial, ModelError) == (number == RAISES)
    assert not isinstance(trial, CircuitOpen)
    assert rig.open == 0
    assert [event.activity for event in rig.told] == ["failure", "update"]
    eve, ada = await asyncio.gather(rig.ask(3, key="eve"), rig.ask(4, key="ada"))
    assert not isinstance(eve, TorchgateError)
    assert not isinstance(ada, TorchgateError)
    assert len(rig.back_end.ran[-1].items) == 2  # it shares batches again
    await rig.engine.stop(1)


async def test_a_trial_shares_no_batch_and_only_one_is_let_in():
    gate = asyncio.Event()
    gate.set()
    rig = await Rig(gate).start()
    await rig.open_circuit()
    rig.clock.moved_s += PAUSE_S
    gate.clear()
    ran = len(rig.back_end.ran)
    trial = asyncio.create_task(rig.ask(1, key="eve"))
    companion = asyncio.create_task(rig.ask(2, key="ada"))
    await until(lambda: len(rig.back_end.ran) == ran + 2)
    assert [len(batch.items) for batch in rig.back_end.ran[ran:]] == [1, 1]
    assert isinstance(await rig.ask(3, key="eve"), CircuitOpen)
    gate.set()
    assert not isinstance(await trial, TorchgateError)
    assert not isinstance(await companion, TorchgateError)
    await rig.engine.stop(1)


async def test_a_guilty_trial_keeps_the_circuit_open_for_twice_as_long():
    rig = await Rig().start()
    await rig.open_circuit()
    rig.clock.moved_s += PAUSE_S
    assert isinstance(await rig.ask(DIES, key="eve"), WorkerDied)
    rig.clock.moved_s += PAUSE_S
    refused = await rig.ask(1, key="eve")
    assert isinstance(refused, CircuitOpen)
    assert refused.retry_after_s == pytest.approx(PAUSE_S, abs=1.0)
    rig.clock.moved_s += PAUSE_S
    assert not isinstance(await rig.ask(1, key="eve"), TorchgateError)
    await rig.engine.stop(1)


async def test_a_trial_that_never_runs_lets_the_next_one_try():
    """The attacker takes the trial and sends no body, or a wrong one, or hangs up in the line."""
    rig = await Rig().start()
    await rig.open_circuit()
    rig.clock.moved_s += PAUSE_S
    permit = await rig.engine.admit(OWNER, person("eve"), 10)
    assert isinstance(await rig.ask(1, key="eve"), CircuitOpen)
    permit.release()
    permit.release()
    too_many = await rig.ask(*range(17), key="eve")
    assert isinstance(too_many, TorchgateError)
    assert not isinstance(too_many, CircuitOpen)
    assert isinstance(await rig.ask(1, key="eve", timeout_s=-100), DeadlineExceeded)
    room = rig.engine._versions[OWNER].room
    room.held_bytes += 1 << 30
    assert isinstance(await rig.ask(1, key="eve"), Overloaded)
    room.held_bytes -= 1 << 30
    assert not isinstance(await rig.ask(1, key="eve"), TorchgateError)
    assert rig.open == 0
    await rig.engine.stop(1)


async def test_what_waits_when_the_circuit_opens_never_starts():
    """Ten poisoned requests are in the queue and in the line of quarantine: three workers die of them, not ten."""
    gate = asyncio.Event()
    rig = await Rig(gate).start()
    first = [asyncio.create_task(rig.ask(DIES, key="eve")) for _ in range(6)]
    await until(lambda: len(rig.back_end.ran) == 1)
    queued = [asyncio.create_task(rig.ask(DIES, key="eve")) for _ in range(4)]
    ada = asyncio.create_task(rig.ask(7, key="ada"))
    await until(lambda: rig.engine._versions[OWNER].dispatcher.waiting == 5)
    gate.set()
    assert not isinstance(await ada, TorchgateError)
    errors = [type(one) for one in await asyncio.gather(*first, *queued)]
    assert errors.count(WorkerDied) == 3
    assert errors.count(CircuitOpen) == 7
    await rig.engine.stop(1)


async def test_a_request_let_in_before_and_sent_after_is_refused():
    """The attacker opens permits before the circuit opens, and sends their bodies afterwards, or after the pause."""
    rig = await Rig().start()
    early = await rig.engine.admit(OWNER, person("eve"), 10)
    await rig.open_circuit()
    rig.clock.moved_s += PAUSE_S
    (await early.reserve(8))[:] = bytes(8)
    with pytest.raises(CircuitOpen):
        await early.run(number_request([0], person("eve"), timeout_s=100.0))
    early.release()
    await rig.engine.stop(1)


async def test_who_hangs_up_before_the_hang_is_proven_is_found_out_by_elimination():
    """Eve's deadline is shorter than max_run_s: her rows can't be tried again, and her companions prove harmless."""
    rig = await Rig(offences=2).start()
    for _ in range(2):
        eve, ada = await asyncio.gather(rig.ask(HANGS, key="eve", timeout_s=0.2), rig.ask(5, key="ada"))
        assert isinstance(eve, DeadlineExceeded)
        assert not isinstance(ada, TorchgateError)
    assert isinstance(await rig.ask(1, key="eve"), CircuitOpen)
    await rig.engine.stop(1)


async def test_of_two_who_hung_up_nobody_is_accused():
    rig = await Rig(offences=1).start()
    await asyncio.gather(rig.ask(HANGS, key="eve", timeout_s=0.2), rig.ask(5, key="ada", timeout_s=0.2))
    await until(lambda: rig.back_end.versions[ACTIVATION].free == 1)
    await asyncio.gather(rig.ask(1, key="bob"))
    assert rig.open == 0
    await rig.engine.stop(1)


async def test_who_hung_up_before_a_death_is_not_accused():
    """A worker may be killed from outside, too: without a second run nothing is proven."""
    gate = asyncio.Event()
    rig = await Rig(gate, offences=1).start()
    eve = asyncio.create_task(rig.ask(DIES, key="eve", timeout_s=0.2))
    assert isinstance(await eve, DeadlineExceeded)
    gate.set()
    await rig.ask(1, key="bob")
    assert rig.open == 0
    await rig.engine.stop(1)


async def test_a_trial_that_hangs_after_its_caller_has_gone_is_guilty():
    rig = await Rig().start()
    await rig.open_circuit()
    rig.clock.moved_s += PAUSE_S
    ran = len(rig.back_end.ran)
    trial = asyncio.create_task(rig.ask(HANGS, key="eve"))
    await until(lambda: len(rig.back_end.ran) == ran + 1)
    trial.cancel()
    assert isinstance(await rig.ask(1, key="eve"), CircuitOpen)  # it still runs
    version = rig.engine._versions[OWNER]
    await until(lambda: version.dispatcher._suspects._task is None)
    rig.clock.moved_s += PAUSE_S
    assert isinstance(await rig.ask(1, key="eve"), CircuitOpen)
    await rig.engine.stop(1)


async def test_of_a_model_that_must_not_run_twice_only_who_was_alone_is_counted():
    rig = await Rig(offences=2).start()
    both = await asyncio.gather(rig.ask(DIES, key="eve", model="once"), rig.ask(5, key="ada", model="once"))
    assert [type(one) for one in both] == [WorkerDied, WorkerDied]
    once = rig.engine._versions[ModelRef("once", "1")].circuits
    assert not once.is_suspicious("ada")
    assert not once.is_suspicious("eve")
    for _ in range(2):
        await rig.ask(DIES, key="eve", model="once")
    assert isinstance(await rig.ask(1, key="eve", model="once"), CircuitOpen)
    await rig.engine.stop(1)


async def test_a_known_offender_s_rows_run_after_those_of_its_companions():
    """After the first time, poison keeps nobody waiting for the next quarantine worker."""
    rig = await Rig().start()
    await rig.ask(HANGS, key="eve")
    ran = len(rig.back_end.ran)
    results = await asyncio.gather(rig.ask(HANGS, key="eve"), *(rig.ask(n, key=f"p{n}") for n in range(4)))
    assert isinstance(results[0], RunTooLong)
    alone = [batch.items[0].request.principal.key for batch in rig.back_end.ran[ran + 1 :]]
    assert alone == ["p0", "p1", "p2", "p3", "eve"]
    await rig.engine.stop(1)
