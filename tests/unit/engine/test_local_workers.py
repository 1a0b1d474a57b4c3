"""Local workers over children that misbehave in every way that a process can, without any process."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from tests.fakes.wire_children import (
    HeapSections,
    Heard,
    WireChild,
    WireChildren,
    answer,
    last_run,
    spaces,
    well_behaved,
)
from tests.rigs.engine_questions import catalog_of, number_request, person, until

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.back_end import Artifact, Batch, BatchAnswer, BatchItem, BatchLost, ItemAnswer
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import ModelError, ModelNotReady, Overloaded, TorchgateError, Unavailable
from torchgate.contract.tensors import PlacedTensor, Signature, TensorSpec
from torchgate.contract.worker_limits import Enforcement, WorkerLimits
from torchgate.contract.worker_wire import (
    PROTOCOL_VERSION,
    Hello,
    ItemDone,
    ItemFailed,
    Load,
    LoadFailed,
    Run,
    RunDone,
    Space,
)
from torchgate.engine.local_workers import LocalWorkers
from torchgate.engine.settings import EngineSettings

OWNER = ModelRef("owner", "1")
ACTIVATION = 0
STATIC = Signature((TensorSpec("number", "INT64", (1,)),), (TensorSpec("double", "INT64", (1,)),))


def artifact(**changes: object) -> Artifact:
    found = catalog_of("owner").entries[OWNER].artifact
    values = {name: getattr(found, name) for name in found.__struct_fields__}
    return Artifact(**{**values, "signature": STATIC, **changes})  # type: ignore[arg-type]


class Rig:
    """Local workers over fake children, and what they told."""

    def __init__(self, children: WireChildren, **settings: object) -> None:
        self.children = children
        self.sections = HeapSections()
        self.told: list[tuple[str, str, int]] = []
        self.events: list[LifecycleEvent] = []
        values = {"section_bytes": 1 << 20, "restart_delay_s": 0.0, "start_timeout_s": 60.0, **settings}
        self.workers = LocalWorkers(
            children,
            self.sections,
            EngineSettings(**values),  # type: ignore[arg-type]
            environment={"PATH": "/bin", "SECRET": "s"},
            on_lifecycle=self.events.append,
        )
        self._batch_id = 0

    async def activate(self, loaded: Artifact | None = None) -> None:
        await self.workers.activate(loaded or artifact(), lambda *told: self.told.append(told))

    def batch(self, *numbers: int, copies: int = 1) -> Batch:
        """One request for each number, with so many rows of it."""
        self._batch_id += 1
        items = []
        for number in numbers:
            slot = self.workers.reserve(ACTIVATION, 8 * copies)
            slot.view[:] = struct.pack("<q", number) * copies
            items.append(BatchItem(number_request([number] * copies, person("ada")), slot))
        return Batch(self._batch_id, ACTIVATION, tuple(items), len(numbers) * copies)

    async def run(self, *numbers: int, quarantined: bool = False, can_wait: bool = False) -> BatchAnswer:
        return await self.workers.run(self.batch(*numbers), quarantined=quarantined, can_wait=can_wait)

    def serving(self) -> WireChild:
        """The child that holds the replica."""
        worker = next(iter(self.workers._versions[ACTIVATION].live))
        return next(child for child in self.children.started if child.pid == worker.pid)

    def free_bytes(self) -> tuple[int, int]:
        memory = self.workers._versions[ACTIVATION]._workers.memory
        return memory.inputs.free_bytes, memory.outputs.memory.free_bytes


Make = Callable[..., Rig]


@pytest_asyncio.fixture
async def make() -> AsyncIterator[Make]:
    rigs: list[Rig] = []

    def make(children: WireChildren | None = None, **settings: object) -> Rig:
        rigs.append(Rig(children or WireChildren(well_behaved), **settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        await rig.workers.stop()
        assert rig.children.alive == []
        assert all(section.is_closed for section in rig.sections.made)


def values(found: BatchAnswer) -> list[int]:
    numbers = []
    for item in found.items:
        assert isinstance(item, ItemAnswer)
        numbers += struct.unpack_from("<q", item.memory.view, item.outputs[0].offset)
        item.memory.release()
    return numbers


async def test_a_worker_is_started_with_its_thread_budget_and_no_secret(make: Make):
    rig = make(threads=6)
    rig.workers.expect([artifact(replicas=2, threads=0)])
    await rig.activate(artifact(replicas=2, threads=0))
    environment = rig.children.started[0].spec.environment
    assert environment["OMP_NUM_THREADS"] == "3"
    assert "SECRET" not in environment


async def test_the_outputs_of_a_static_signature_need_no_second_question(make: Make):
    rig = make()
    await rig.activate()
    assert values(await rig.run(5, 6)) == [5, 6]
    assert spaces(rig.serving()) == []


async def test_a_worker_that_needs_space_gets_it(make: Make):
    rig = make()
    await rig.activate(artifact(signature=Signature(STATIC.inputs, (TensorSpec("double", "INT64", (-1,)),))))

    def asks(child: WireChild, message: Heard) -> None:
        if isinstance(message, Space):
            answer(child, last_run(child), message.space_offset, message.space_length)
        else:
            well_behaved(child, message)

    rig.serving()._script = asks
    assert values(await rig.workers.run(rig.batch(5, copies=16))) == [5]
    assert len(spaces(rig.serving())) == 1
    assert values(await rig.workers.run(rig.batch(6, copies=16))) == [6]
    assert len(spaces(rig.serving())) == 1, "the second time it is known before"


async def test_space_comes_when_an_answer_is_released(make: Make):
    rig = make()
    await rig.activate()
    outputs = rig.workers._versions[ACTIVATION]._workers.memory.outputs
    whole = outputs.memory.take(outputs.memory.length)
    assert whole is not None

    def asks(child: WireChild, message: Heard) -> None:
        if isinstance(message, Space):
            answer(child, last_run(child), message.space_offset, message.space_length)
        else:
            well_behaved(child, message)

    rig.serving()._script = asks
    running = asyncio.create_task(rig.run(5))
    await until(lambda: bool(outputs._waiting))
    whole.release()
    assert values(await running) == [5]


@pytest.mark.parametrize(
    "wrong",
    [
        RunDone(99, (), 0.0, 0.0, 0.0),  # another batch: the answer of one request would reach another
        RunDone(1, (), 0.0, 0.0, 0.0),  # too few
        RunDone(1, (ItemDone((PlacedTensor("double", "INT64", (1, 1), 0, 8),)),), 0.0, 0.0, 0.0),  # in the inputs
        RunDone(1, (ItemDone((PlacedTensor("double", "INT64", (1, 1), 1 << 30, 8),)),), 0.0, 0.0, 0.0),
        RunDone(1, (ItemDone((PlacedTensor("double", "INT64", (1, 1), (1 << 19) + 64, -8),)),), 0.0, 0.0, 0.0),
        Hello(PROTOCOL_VERSION, 1, "2", "3"),  # a second time
        b"\xff\xff\xff\xff",  # a frame of four gigabytes
        b"\x03\x00\x00\x00abc",  # no message
    ],
)
async def test_a_worker_that_breaks_the_rules_is_killed_and_replaced(make: Make, wrong: bytes | RunDone | Hello):
    rig = make()
    await rig.activate()
    bad = rig.serving()
    bad._script = lambda child, _: child.say_bytes(wrong) if isinstance(wrong, bytes) else child.say(wrong)
    with pytest.raises(BatchLost) as lost:
        await rig.run(5)
    assert not lost.value.hung
    assert bad.is_killed
    await until(lambda: rig.workers.free_replicas(ACTIVATION) == 1)
    assert values(await rig.run(6)) == [6]


async def test_a_failure_of_one_request_is_its_own(make: Make):
    rig = make()
    await rig.activate()

    def half(child: WireChild, message: Heard) -> None:
        if isinstance(message, Run):
            placed = PlacedTensor("double", "INT64", (1, 1), message.space_offset, 8)
            items = (ItemFailed("public", "private"), ItemDone((placed,)))
            child.say(RunDone(message.batch_id, items, 0.0, 0.0, 0.0))

    rig.serving()._script = half
    found = await rig.run(1, 2)
    failed, done = found.items
    assert isinstance(failed, ModelError)
    assert (failed.sentence, failed.detail) == ("public", "private")
    assert isinstance(done, ItemAnswer)
    done.memory.release()


async def test_a_run_beyond_its_limit_is_killed_and_said_to_hang(make: Make):
    rig = make()
    await rig.activate(artifact(max_run_s=0.05))
    rig.serving()._script = lambda _child, _message: None
    with pytest.raises(BatchLost) as lost:
        await rig.run(5)
    assert lost.value.hung


async def test_memory_of_a_lost_run_comes_back_only_when_the_process_is_gone(make: Make):
    rig = make()
    await rig.activate()
    before = rig.free_bytes()
    child = rig.serving()
    child._script = lambda _child, _message: None
    child.kill = lambda: None  # type: ignore[method-assign]  # the system takes its time
    batch = rig.batch(5)
    running = asyncio.create_task(rig.workers.run(batch))
    await until(lambda: any(isinstance(message, Run) for message in child.heard))
    child._receiver.channel_closed()
    with pytest.raises(BatchLost):
        await running
    batch.items[0].slot.release()
    assert rig.free_bytes() != before, "the process may still write"
    child.end(-9)
    await until(lambda: rig.free_bytes() == before)


async def test_a_run_whose_caller_went_keeps_its_memory_until_it_is_over(make: Make):
    rig = make()
    await rig.activate()
    before = rig.free_bytes()
    child = rig.serving()
    child._script = lambda _child, _message: None
    batch = rig.batch(5)
    running = asyncio.create_task(rig.workers.run(batch))
    await until(lambda: any(isinstance(message, Run) for message in child.heard))
    running.cancel()
    await asyncio.wait([running])
    batch.items[0].slot.release()
    assert rig.free_bytes() != before
    run = last_run(child)
    answer(child, run, run.space_offset, run.space_length)
    await until(lambda: rig.free_bytes() == before)
    assert rig.workers.free_replicas(ACTIVATION) == 1


async def test_a_death_is_made_good_by_the_standby(make: Make):
    rig = make()
    await rig.activate()
    await until(lambda: len(rig.children.alive) == 2)
    standby = rig.children.started[1]
    rig.serving().end(-9)
    await until(lambda: bool(rig.workers._versions[ACTIVATION].live) and rig.serving() is standby)
    await until(lambda: len(rig.children.alive) == 2)
    assert rig.told[-1] == ("ready", "", 1)
    assert [event.activity for event in rig.events] == ["start", "failure", "start"]
    assert "#2" in rig.events[-1].subject


async def test_a_batch_waits_for_the_replacement(make: Make):
    rig = make(standbys=0)
    await rig.activate()
    rig.children.says_hello = False
    rig.serving().end(-9)
    await until(lambda: len(rig.children.started) == 2)
    assert rig.workers.free_replicas(ACTIVATION) == 0
    running = asyncio.create_task(rig.run(5))
    rig.children.started[1].say(Hello(PROTOCOL_VERSION, 1, "2", "3"))
    assert values(await running) == [5]


async def test_deaths_beyond_the_budget_make_the_version_failed_and_a_later_attempt_ready(make: Make):
    rig = make(restart_budget=1, restart_window_s=0.3)
    await rig.activate()
    first = rig.serving()
    first.end(-11)
    await until(lambda: bool(rig.workers._versions[ACTIVATION].live) and rig.serving() is not first)
    rig.serving().end(-11)
    await until(lambda: rig.told[-1][0] == "failed")
    assert "restart_budget" in rig.told[-1][1]
    with pytest.raises(ModelNotReady):
        await rig.run(5)
    await until(lambda: rig.told[-1][0] == "ready")
    assert values(await rig.run(6)) == [6]


def refusing(child: WireChild, message: Heard) -> None:
    if isinstance(message, Load):
        child.say(LoadFailed("no weights", "Traceback …"))
    else:
        well_behaved(child, message)


async def test_what_can_t_be_loaded_is_failed_at_once_and_never_tried_again(make: Make):
    rig = make(WireChildren(refusing))
    await rig.activate(artifact(replicas=2))
    assert rig.told[-1] == ("failed", "no weights", 0)
    await until(lambda: all(task.done() for task in rig.workers._versions[ACTIVATION]._places))


async def test_a_load_that_takes_too_long_is_a_failure(make: Make):
    rig = make(WireChildren(lambda _child, _message: None))
    await rig.activate(artifact(load_timeout_s=0.05))
    assert rig.told[-1][0] == "failed"
    assert "0.05 s to load its model" in rig.told[-1][1]


async def test_a_worker_that_never_comes_to_life_is_a_failure(make: Make):
    rig = make(WireChildren(well_behaved, says_hello=False), start_timeout_s=0.05)
    await rig.activate()
    assert rig.told[-1][0] == "failed"
    assert "import torch" in rig.told[-1][1]


async def test_a_worker_that_can_t_be_started_is_a_failure(make: Make):
    children = WireChildren(well_behaved)
    children.refusal = OSError("too many processes")
    rig = make(children)
    await rig.activate()
    assert rig.told[-1][0] == "failed"
    assert "too many processes" in rig.told[-1][1]


async def test_a_worker_of_another_installation_is_refused(make: Make):
    children = WireChildren(well_behaved, says_hello=False)
    rig = make(children, standbys=0)
    activating = asyncio.create_task(rig.activate())
    await until(lambda: bool(children.started))
    children.started[0].say(Hello(PROTOCOL_VERSION + 1, 1, "2", "3"))
    await activating
    assert rig.told[-1][0] == "failed"
    assert "two installations" in rig.told[-1][1]


async def test_no_shared_memory_is_a_failure_of_that_version(make: Make):
    rig = make()

    def create(_: int) -> object:
        raise OSError("commit limit")

    rig.sections.create = create  # type: ignore[method-assign,assignment]
    await rig.activate()
    assert rig.told == [("failed", "no shared memory of engine.section_bytes = 1048576: commit limit", 0)]


async def test_quarantine_uses_one_worker_for_all_suspects_and_gives_it_to_the_empty_place(make: Make):
    rig = make()
    await rig.activate()
    await until(lambda: len(rig.children.alive) == 2)
    rig.children.says_hello = False  # no other worker comes to life for now
    standby = rig.children.started[1]
    suspects = [asyncio.create_task(rig.run(number, quarantined=True)) for number in (5, 6)]
    await until(lambda: any(isinstance(message, Load) for message in standby.heard))
    rig.serving().end(-9)
    assert [values(await one) for one in suspects] == [[5], [6]]
    await until(lambda: bool(rig.workers._versions[ACTIVATION].live) and rig.serving() is standby)
    assert rig.workers.free_replicas(ACTIVATION) == 1


async def test_the_only_worker_of_a_version_is_replaced_at_once_each_time(make: Make):
    """Three kills within the window: the wait between replacements is for those beside whom somebody serves."""
    rig = make(restart_delay_s=30.0)
    await rig.activate()
    for number in range(3):
        killed = rig.serving()
        killed.end(-9)
        await until(lambda: bool(rig.workers._versions[ACTIVATION].live) and rig.serving() is not killed)  # noqa: B023
        assert values(await rig.run(number)) == [number]


async def test_who_can_wait_gets_no_worker_before_the_empty_place_has_one(make: Make):
    """The only standby goes to the place, where everybody's requests run, and not to a known offender's row."""
    rig = make()
    await rig.activate()
    await until(lambda: len(rig.children.alive) == 2)
    rig.children.says_hello = False
    standby = rig.children.started[1]
    rig.serving().end(-9)
    offender = asyncio.create_task(rig.run(5, quarantined=True, can_wait=True))
    await until(lambda: bool(rig.workers._versions[ACTIVATION].live) and rig.serving() is standby)
    assert values(await rig.run(6)) == [6]
    assert not offender.done()
    rig.children.says_hello = True
    for child in rig.children.alive[1:]:
        child.say(Hello(PROTOCOL_VERSION, child.pid, "2", "3"))
    assert values(await offender) == [5]


async def test_who_can_wait_is_not_waited_for_when_everything_ends(make: Make):
    rig = make()
    await rig.activate()
    rig.children.says_hello = False
    rig.serving().end(-9)
    offender = asyncio.create_task(rig.run(5, quarantined=True, can_wait=True))
    await until(lambda: len(rig.children.alive) >= 1)
    await rig.workers.stop()
    with pytest.raises(Unavailable):
        await offender


async def test_a_guilty_suspect_costs_its_worker_and_nothing_of_the_budget(make: Make):
    rig = make(restart_budget=0, standbys=2)
    await rig.activate()
    serving = rig.serving()

    def dies(child: WireChild, message: Heard) -> None:
        if isinstance(message, Run):
            child.end(-11)
        else:
            well_behaved(child, message)

    for child in rig.children.started:
        child._script = dies if child is not serving else well_behaved
    rig.children.script = dies
    await until(lambda: len(rig.children.alive) == 3)
    for child in rig.children.alive:
        child._script = dies if child is not serving else well_behaved
    for _ in range(3):
        with pytest.raises(BatchLost):
            await rig.run(5, quarantined=True)
    assert rig.told[-1] == ("ready", "", 1)
    assert values(await rig.run(6)) == [6]


async def test_a_suspect_for_whom_there_is_no_worker_is_told_to_come_again(make: Make):
    rig = make(standbys=0)
    await rig.activate()
    rig.children.refusal = OSError("too many processes")
    with pytest.raises(Unavailable) as refused:
        await rig.run(5, quarantined=True)
    assert refused.value.retry_after_s


async def test_unloading_ends_the_workers_and_who_still_asks_is_told(make: Make):
    rig = make()
    await rig.activate()
    serving = rig.serving()
    await rig.workers.deactivate(ACTIVATION)
    assert serving not in rig.children.alive
    assert rig.sections.made[0].is_closed
    with pytest.raises(ModelNotReady):
        rig.workers.reserve(ACTIVATION, 8)
    await rig.workers.deactivate(ACTIVATION)


async def test_stopping_kills_workers_that_do_not_hear(make: Make):
    rig = make()
    await rig.activate()
    rig.serving()._script = lambda _child, _message: None
    await rig.workers.stop()
    assert rig.children.alive == []


async def test_stopping_while_everything_starts_leaves_nothing(make: Make):
    children = WireChildren(well_behaved, says_hello=False)
    rig = make(children)
    activating = asyncio.create_task(rig.activate())
    await until(lambda: bool(children.started))
    await rig.workers.stop()
    await asyncio.wait([activating])
    assert children.alive == []


async def test_inputs_are_bounded(make: Make):
    rig = make()
    await rig.activate()
    slots = [rig.workers.reserve(ACTIVATION, 1 << 18) for _ in range(2)]
    with pytest.raises(Overloaded):
        rig.workers.reserve(ACTIVATION, 1)
    with pytest.raises(TorchgateError):
        rig.workers.reserve(ACTIVATION, 1 << 20)
    for slot in slots:
        slot.release()


async def test_a_worker_has_its_limits_before_it_is_given_its_model(make: Make, caplog: pytest.LogCaptureFixture):
    rig = make()
    caplog.set_level(logging.INFO, "torchgate.engine")
    limits = WorkerLimits(memory_bytes=1 << 30, processors=(0,))
    await rig.activate(artifact(limits=limits))
    assert rig.children.started[0].limits == limits
    assert "limits of the workers of owner:1: memory_bytes by rlimit" in caplog.messages
    assert rig.workers.enforcement(ACTIVATION) == (Enforcement("memory_bytes", "rlimit"),)


async def test_a_model_that_says_no_limits_gets_those_of_the_engine_and_one_that_does_its_own(make: Make):
    rig = make(worker_max_memory_bytes=1 << 30, worker_max_processes=9, worker_max_cpu_percent=70)
    await rig.activate(artifact(limits=WorkerLimits(processes=3)))
    assert rig.children.started[0].limits == WorkerLimits(memory_bytes=1 << 30, processes=3, cpu_percent=70)


async def test_how_a_part_of_the_device_is_held_is_said_with_the_rest(make: Make):
    rig = make()
    await rig.activate(artifact(limits=WorkerLimits(device_memory_fraction=0.5)))
    (held,) = rig.workers.enforcement(ACTIVATION)
    assert (held.limit, held.by, held.value) == ("device_memory_fraction", "torch", 0.5)


async def test_children_are_closed_when_all_have_ended(make: Make):
    rig = make()
    await rig.activate()
    await rig.workers.stop()
    assert rig.children.is_closed
