"""One permit of a gate in the pool: what may come when, whoever is quicker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest_asyncio
from tests.fakes.memory_pipes import HeapSections
from tests.rigs.engine_questions import person, until
from tests.rigs.link_rig import OWNER, LinkRig

from torchgate.contract.clock import monotonic_s
from torchgate.contract.decision import ModelRef
from torchgate.contract.tensors import PlacedTensor
from torchgate.engine.link.gate_memory import GateMemory
from torchgate.engine.link.pool_permit import PoolPermit
from torchgate.engine.link.principals import WrittenPrincipals
from torchgate.engine.link.wire import Admit, Admitted, Done, Failed, FromPool, NewSection, RunFields
from torchgate.engine.scheduler import Scheduler


class PromptGate:
    """Implements pool_permit.HoldsPermits for a gate whose next word is here before `send` has returned."""

    def __init__(self, engine: Scheduler, next_word: Callable[[FromPool], None]) -> None:
        self.engine = engine
        self.clock = monotonic_s
        self.came: list[FromPool] = []
        self.given_back: list[int] = []
        self.cut_off_for: list[str] = []
        self.memory = GateMemory(HeapSections(), 1 << 20, hand_over=lambda _: "token", send=self.send)
        self._next_word = next_word

    def send(self, message: FromPool) -> None:
        if not isinstance(message, NewSection):
            self.came.append(message)
            self._next_word(message)

    def refused(self) -> None:
        """Nothing of the models has changed."""

    def cut_off(self, reason: str) -> None:
        self.cut_off_for.append(reason)

    def gave_back(self, number: int) -> None:
        self.given_back.append(number)


@pytest_asyncio.fixture(params=[True, False], ids=["shared", "copied"])
async def rig(request) -> AsyncIterator[LinkRig]:
    made = LinkRig(is_shared=request.param)
    await made.start_pool()
    yield made
    await made.stop()


def admit() -> Admit:
    return Admit(1, OWNER, WrittenPrincipals().write(person("ada")), 8)


async def test_a_run_and_a_release_may_come_before_the_task_that_gave_the_answer_has_ended(rig: LinkRig):
    fields = RunFields("r", (PlacedTensor("number", "INT64", (1, 1), 0, 8),), 1, 30.0, None, 0, {}, ())

    def next_word(message: FromPool) -> None:
        if isinstance(message, Admitted):
            permit.run(fields)
        else:
            permit.release()

    gate = PromptGate(rig.engine, next_word)
    permit = PoolPermit(gate, admit(), person("ada"))
    await until(lambda: bool(gate.given_back))
    assert [type(message) for message in gate.came] == [Admitted, Done]
    assert (gate.given_back, gate.cut_off_for) == ([1], [])
    assert rig.has_all_its_memory


async def test_a_refused_permit_may_be_released_before_the_task_that_refused_it_has_ended(rig: LinkRig):
    gate = PromptGate(rig.engine, lambda _: permit.release())
    permit = PoolPermit(gate, Admit(1, ModelRef("nobody", "1"), admit().principal, 8), person("ada"))
    await until(lambda: bool(gate.given_back))
    assert [type(message) for message in gate.came] == [Failed]
    assert gate.given_back == [1]
    assert rig.has_all_its_memory
