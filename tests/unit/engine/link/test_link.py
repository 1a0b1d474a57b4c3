"""Gate and pool over a pipe of memory: the engine behaves as if it were here, and the end of one is its own."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from tests.rigs.engine_questions import ask, check, number_request, person, raw_ask, until
from tests.rigs.link_rig import OWNER, LinkRig

from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import (
    BodyTooLarge,
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    ModelError,
    ModelNotReady,
    Overloaded,
    TorchgateError,
    Unavailable,
    UnknownModel,
    WorkerDied,
)
from torchgate.contract.inference import ModelChange
from torchgate.contract.tensors import PlacedTensor
from torchgate.engine.link.gate_session import LinkLimits
from torchgate.engine.link.pool_link import PoolLink
from torchgate.engine.link.remote_engine import RemoteEngine
from torchgate.engine.link.wire import LEAST_EARLY_BYTES, MOST_EARLY_BYTES, Catalogue, Hello, encode


@pytest_asyncio.fixture(params=[True, False], ids=["shared", "copied"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[LinkRig]:
    made = LinkRig(is_shared=request.param)
    await made.start_pool()
    yield made
    made.gate.set()
    await made.stop()


async def test_an_answer_comes_back_to_its_question_and_everything_is_given_back(rig: LinkRig):
    gate = await rig.start_gate()
    timing = await ask(gate, [1, 2, 3])
    assert (timing.batch_rows, timing.batch_requests, timing.worker) == (3, 1, "owner:1/0#1")
    await until(lambda: rig.has_all_its_memory)


async def test_the_picture_of_the_models_is_the_pool_s(rig: LinkRig):
    gate = await rig.start_gate()
    assert gate.models() == rig.engine.models()
    assert gate.resolve("owner", None) == gate.resolve("owner", "1") == OWNER
    assert gate.resolve("owner", "2") is None
    assert gate.resolve("Owner", None) is None
    assert gate.describe(OWNER) == rig.engine.describe(OWNER)
    await ask(gate, [1])
    assert await gate.statistics(OWNER) == await rig.engine.statistics(OWNER)
    assert await gate.statistics(ModelRef("owner", "2")) is None


async def test_a_change_reaches_every_gate(rig: LinkRig):
    gates = [await rig.start_gate(), await rig.start_gate()]
    rig.engine._versions[OWNER].change("failed", "it broke", 0)
    for gate in gates:
        await until(lambda gate=gate: gate.models()[0].reason == "it broke")  # type: ignore[misc]
        with pytest.raises(ModelNotReady) as refused:
            await ask(gate, [1])
        assert refused.value.detail == "it broke"


async def test_a_gate_has_models_loaded_and_unloaded_for_all_gates(rig: LinkRig):
    first, second = await rig.start_gate(), await rig.start_gate()
    with pytest.raises(UnknownModel):
        await first.load("nobody", None, by="ops")
    change = await first.unload("owner", None, by="key:ops")
    assert change == ModelChange("owner", unloaded=("1",))
    await until(lambda: second.models()[0].state == "unloaded")
    assert "key:ops" in second.models()[0].reason


async def test_a_refusal_is_never_older_than_the_picture(rig: LinkRig):
    gate = await rig.start_gate()
    rig.engine._watchers.clear()
    del rig.engine._versions[OWNER]
    with pytest.raises(UnknownModel):
        await gate.admit(OWNER, person("ada"), 8)
    assert gate.resolve("owner", None) is None, "the gate decides anew, and must not find the same again"
    assert rig.back_end.versions[1].has_all_its_memory


@pytest.mark.parametrize(
    ("number", "kind"), [(-13, ModelError), (-666, WorkerDied)], ids=["the model raises", "the worker dies"]
)
async def test_errors_of_the_engine_come_as_they_are(rig: LinkRig, number: int, kind: type[TorchgateError]):
    gate = await rig.start_gate()
    with pytest.raises(kind) as here:
        await ask(rig.engine, [number])
    with pytest.raises(kind) as there:
        await ask(gate, [number])
    assert type(there.value) is kind
    assert vars(there.value) == vars(here.value)
    with pytest.raises(InvalidRequest, match="17 rows"):
        await ask(gate, [1] * 17)
    await until(lambda: rig.has_all_its_memory)


async def test_memory_comes_with_the_permit_and_more_only_where_the_inputs_need_it(rig: LinkRig):
    gate = await rig.start_gate()
    link = gate._link
    assert link is not None
    small = await gate.admit(OWNER, person("ada"), 10)
    turns = link._outbox
    assert turns is not None
    assert len(await small.reserve(LEAST_EARLY_BYTES)) == LEAST_EARLY_BYTES
    assert not turns._frames, "nothing was asked"
    assert len(await small.reserve(LEAST_EARLY_BYTES + 1)) == LEAST_EARLY_BYTES + 1
    small.release()
    await until(lambda: rig.has_all_its_memory)
    huge = await gate.admit(OWNER, person("ada"), 1 << 19)
    with pytest.raises(BodyTooLarge):
        await huge.reserve(MOST_EARLY_BYTES + 1)
    (await huge.reserve(8))[:] = (5).to_bytes(8, "little")
    check(await huge.run(number_request([5], person("ada"))), [5], "ada")
    huge.release()
    await until(lambda: rig.has_all_its_memory)


async def test_a_permit_is_asked_in_order_or_not_at_all(rig: LinkRig):
    gate = await rig.start_gate()
    permit = await gate.admit(OWNER, person("ada"), 8)
    (await permit.reserve(8))[:] = (5).to_bytes(8, "little")
    check(await permit.run(number_request([5], person("ada"))), [5], "ada")
    with pytest.raises(RuntimeError):
        await permit.run(number_request([5], person("ada")))
    with pytest.raises(RuntimeError):
        await permit.reserve(8)
    permit.release()
    permit.release()
    with pytest.raises(RuntimeError):
        await permit.reserve(8)
    await ask(gate, [1])


async def test_a_deadline_is_a_span_between_processes_whose_clocks_differ(rig: LinkRig):
    gate = await rig.start_gate()
    gate._clock = lambda: 1e6
    permit = await gate.admit(OWNER, person("ada"), 8)
    (await permit.reserve(8))[:] = (5).to_bytes(8, "little")
    request = msgspec.structs.replace(number_request([5], person("ada")), deadline_at=1e6 + 20)
    check(await permit.run(request), [5], "ada")
    permit.release()


async def test_a_caller_that_goes_is_taken_back_from_the_pool(rig: LinkRig):
    gate = await rig.start_gate()
    rig.gate.clear()
    running = asyncio.create_task(ask(gate, [1]))
    waiting = asyncio.create_task(ask(gate, [2]))
    await until(lambda: len(rig.back_end.ran) == 1)
    for task in (running, waiting):
        task.cancel()
    await asyncio.wait({running, waiting})
    await until(lambda: not rig.pool.gates[0].permits)
    rig.gate.set()
    await until(lambda: rig.has_all_its_memory)
    await ask(gate, [3])


async def test_a_caller_that_goes_before_its_permit_came_holds_none(rig: LinkRig):
    gate = await rig.start_gate()
    admitting = asyncio.create_task(gate.admit(OWNER, person("ada"), 8))
    await asyncio.sleep(0)
    admitting.cancel()
    await asyncio.wait({admitting})
    await ask(gate, [3])
    await until(lambda: rig.has_all_its_memory)


async def test_requests_are_taken_back_by_their_own_id_through_any_gate(rig: LinkRig):
    first, second = await rig.start_gate(), await rig.start_gate()
    rig.gate.clear()
    permit = await first.admit(OWNER, person("ada"), 8)
    (await permit.reserve(8))[:] = (5).to_bytes(8, "little")
    request = msgspec.structs.replace(number_request([5], person("ada")), client_ids=("mine",))
    running = asyncio.create_task(permit.run(request))
    await until(lambda: len(rig.back_end.ran) == 1)
    assert await second.cancel("bob", "mine") == 0
    assert await second.cancel("ada", "mine") == 1
    with pytest.raises(Cancelled):
        await running
    permit.release()
    rig.gate.set()


async def test_a_deadline_holds_though_the_pool_stands_still(rig: LinkRig):
    """Whether the pool is alive is found out later: no caller waits for that."""
    gate = await rig.start_gate()
    permit = await gate.admit(OWNER, person("ada"), 8)
    (await permit.reserve(8))[:] = (5).to_bytes(8, "little")
    rig.freeze_pool()
    with pytest.raises(DeadlineExceeded):
        await permit.run(number_request([5], person("ada"), timeout_s=0.05))
    permit.release()
    rig.thaw_pool()
    await ask(gate, [1])
    await until(lambda: rig.has_all_its_memory)


async def test_a_gate_that_dies_leaves_nothing_and_nobody_else_notices(rig: LinkRig):
    doomed, sound = await rig.start_gate(), await rig.start_gate()
    rig.gate.clear()
    lost = [asyncio.create_task(ask(doomed, [number])) for number in range(20)]
    kept = [asyncio.create_task(ask(sound, [number], "bob")) for number in range(20)]
    held = await doomed.admit(OWNER, person("ada"), 1 << 14)
    await until(lambda: len(rig.back_end.ran) == 1)
    rig.kill_gate(0)
    await until(lambda: len(rig.pool.gates) == 1)
    rig.gate.set()
    await asyncio.gather(*kept)
    await until(lambda: rig.has_all_its_memory)
    for task in lost:
        task.cancel()
    await asyncio.wait(lost)
    held.release()
    assert [gate.permits for gate in rig.pool.gates] == [0]


async def test_a_gate_is_told_why_its_pool_is_not_ready(rig: LinkRig):
    gate = await rig.start_gate()
    assert gate.not_ready_reason == ""
    rig.installation.reason = "the installation is not what torchgate.lock says: torch.version"
    rig.pool.changed()
    await until(lambda: gate.not_ready_reason == rig.installation.reason)
    rig.pipes.shut()
    await until(lambda: not gate.is_attached)
    assert gate.not_ready_reason == "the pool that runs the models can't be reached", "of its own reasons nobody knows"


def test_a_catalogue_of_a_pool_that_knows_no_locks_is_read():
    before = msgspec.msgpack.encode(["catalogue", [], {}, True])
    assert msgspec.msgpack.decode(before, type=Catalogue) == Catalogue((), {}, is_warm=True)


async def test_a_pool_that_dies_is_503_at_once_for_all_who_wait_and_for_all_who_come(rig: LinkRig):
    gate = await rig.start_gate()
    rig.gate.clear()
    running = [asyncio.create_task(ask(gate, [number])) for number in range(20)]
    await until(lambda: len(rig.back_end.ran) == 1)
    rig.pipes.shut()
    async with asyncio.timeout(120):
        results = await asyncio.gather(*running, return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert all(isinstance(result, Unavailable) and result.retry_after_s for result in results)
    assert not gate.is_warm
    assert gate.resolve("owner", None) == OWNER, "what is known is kept"
    described = gate.describe(OWNER)
    assert described is not None
    assert (described.state, described.ready_workers) == ("unloaded", 0)
    for question in (ask(gate, [1]), gate.statistics(OWNER), gate.cancel("ada", "x")):
        with pytest.raises(Unavailable, match="Try again in 2 s"):
            await question


async def test_a_pool_that_comes_back_is_found_and_an_old_permit_is_worth_nothing_there(rig: LinkRig):
    gate = await rig.start_gate()
    old = await gate.admit(OWNER, person("ada"), 8)
    (await old.reserve(8))[:] = (5).to_bytes(8, "little")
    await rig.kill_pool()
    await until(lambda: not gate.is_attached)
    await rig.engine.stop(1)
    await rig.start_pool()
    await until(lambda: gate.is_warm)
    new = await gate.admit(OWNER, person("bob"), 8)
    (await new.reserve(8))[:] = (7).to_bytes(8, "little")
    with pytest.raises(Unavailable):
        await old.run(number_request([5], person("ada")))
    old.release()
    check(await new.run(number_request([7], person("bob"))), [7], "bob")
    new.release()
    await until(lambda: rig.has_all_its_memory)


async def test_a_gate_that_is_there_first_waits_for_its_pool():
    rig = LinkRig()
    gate = RemoteEngine(rig.pipes.connect, program="1.0")
    gate.start()
    rig.gates.append(gate)
    assert not await gate.wait_attached(0.01)
    assert gate.models() == ()
    assert not gate.is_warm
    with pytest.raises(Unavailable) as away:  # which models there are is not known: none is unknown yet
        gate.resolve("owner", None)
    assert away.value.retry_after_s
    await rig.start_pool()
    assert await gate.wait_attached(10)
    assert gate.resolve("nobody", None) is None
    await ask(gate, [1])
    await rig.stop()


async def test_a_gate_and_a_pool_that_share_no_protocol_say_so_on_both_sides(caplog: pytest.LogCaptureFixture):
    rig = LinkRig()
    await rig.start_pool()

    class Newer(PoolLink):
        def begin(self, channel: object) -> None:
            channel.write(encode(Hello(7, 9, "9.0", 1)))  # type: ignore[attr-defined]

    gate = RemoteEngine(rig.pipes.connect, program="9.0")
    link = Newer(gate, "9.0")
    link.begin(await rig.pipes.connect(link))
    await until(lambda: link.is_lost)
    assert "speaks protocols 1 to 1; the gate is 9.0 and speaks 7 to 9" in link.refusal
    assert "Install the same version for both." in caplog.text
    assert rig.pool.gates == ()
    await rig.stop()


async def test_there_is_a_bound_to_gates_and_it_says_so():
    rig = LinkRig(limits=LinkLimits(max_gates=1))
    await rig.start_pool()
    first = await rig.start_gate()
    second = RemoteEngine(rig.pipes.connect, program="1.0")
    second.start()
    await until(lambda: "takes no more" in second._reason)
    await ask(first, [1])
    await second.stop()
    await rig.stop()


async def test_a_gate_asks_for_no_more_permits_than_it_may_hold():
    rig = LinkRig(limits=LinkLimits(max_permits=2))
    await rig.start_pool()
    gate = await rig.start_gate()
    permits = [await gate.admit(OWNER, person("ada"), 8) for _ in range(2)]
    with pytest.raises(Overloaded, match="2 requests under way"):
        await gate.admit(OWNER, person("ada"), 8)
    for permit in permits:
        permit.release()
    await ask(gate, [1])
    await rig.stop()


async def test_a_section_that_is_gone_is_unmapped_by_the_gates():
    rig = LinkRig()
    await rig.start_pool()
    gate = await rig.start_gate()
    await ask(gate, [1])
    await until(lambda: rig.has_all_its_memory)
    rig.back_end.ran.clear()
    await rig.back_end.deactivate(1)
    gc.collect()
    for session in rig.pool.gates:
        session.memory.sweep()
    link = gate._link
    assert link is not None
    await until(lambda: not len(link._sections))
    assert rig.pipes.channels[0].opened[0].is_closed
    await rig.stop()


async def test_a_pool_that_stands_still_is_as_good_as_gone():
    rig = LinkRig()
    await rig.start_pool()
    gate = await rig.start_gate()
    link, channel = gate._link, rig.pipes.channels[0].other
    assert link is not None
    assert channel is not None
    for _ in range(3):
        link.look(1)
        await until(lambda: not link._unanswered_pings)
    channel.is_reading = False
    link.look(1)
    link.look(1)
    assert not gate.is_attached
    await rig.stop()


@pytest.mark.parametrize("seed", range(5))
async def test_no_answer_is_mixed_up_by_cancels_and_dying_gates(seed: int):
    rig = LinkRig(is_shared=seed % 2 == 0, seed=seed)
    await rig.start_pool()
    dice = random.Random(seed)
    gates = [await rig.start_gate(), await rig.start_gate()]

    async def questions(gate_index: int, key: str) -> int:
        answered = 0
        for _ in range(40):
            numbers = [dice.randrange(1 << 40) for _ in range(dice.randint(1, 4))]
            task = asyncio.create_task(ask(gates[gate_index], numbers, key))
            if dice.random() < 0.3:
                for _ in range(dice.randrange(8)):
                    await asyncio.sleep(0)
                task.cancel()
            elif dice.random() < 0.05:
                rig.cut(gates[gate_index])
                await until(lambda: gates[gate_index].is_warm)
            try:
                await task
                answered += 1
            except (asyncio.CancelledError, Unavailable):
                await until(lambda: gates[gate_index].is_warm)
        return answered

    counts = await asyncio.gather(*(questions(index % 2, f"person{index}") for index in range(10)))
    assert sum(counts) > 50
    await until(lambda: rig.has_all_its_memory)
    await rig.stop()


async def test_inputs_of_any_length_arrive_whole(rig: LinkRig):
    gate = await rig.start_gate()
    data = random.Random(1).randbytes(8 * 16)
    values = bytes(byte & 0x3F for byte in data)
    placed = PlacedTensor("number", "INT64", (16, 1), 0, 128)
    assert await raw_ask(gate, "owner", placed, values, 16) == await raw_ask(rig.engine, "owner", placed, values, 16)
