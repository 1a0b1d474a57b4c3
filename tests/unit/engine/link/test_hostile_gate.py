"""A gate that lies, floods or never reads is cut off, and loses what it held; the others do not notice."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.memory_pipes import MemoryChannel
from tests.rigs.engine_questions import ask, person, until
from tests.rigs.link_rig import OWNER, LinkRig

from torchgate.contract.decision import ModelRef
from torchgate.contract.tensors import PlacedTensor
from torchgate.contract.worker_wire import Frames
from torchgate.engine.link.gate_session import LinkLimits
from torchgate.engine.link.principals import WrittenPrincipals
from torchgate.engine.link.wire import (
    Admit,
    Ask,
    Done,
    Failed,
    FromGate,
    FromPool,
    Hello,
    Ping,
    Release,
    Reserve,
    Run,
    RunFields,
    decode_from_pool,
    encode,
)

LIMITS = LinkLimits(max_permits=4, max_asks=2, max_unsent_bytes=1 << 16, copy_bytes=1 << 20, hello_timeout_s=30.0)
RESERVED = 4096


class Liar:
    """A gate of the attacker's own making: sends what it likes, and remembers what came."""

    def __init__(self) -> None:
        self.channel: MemoryChannel
        self.came: list[FromPool] = []
        self.is_cut_off = False
        self._frames = Frames()
        self._is_first = True

    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            if not self._is_first:
                self.came.append(decode_from_pool(frame))
            self._is_first = False

    def channel_closed(self) -> None:
        self.is_cut_off = True

    def say(self, *messages: FromGate | Hello) -> None:
        self.channel.write(b"".join(encode(message) for message in messages))


def admit(permit: int = 1, announced: int = 8, ref: ModelRef = OWNER) -> Admit:
    return Admit(permit, ref, WrittenPrincipals().write(person("eve")), announced)


def run(permit: int = 1, placed: PlacedTensor | None = None, **changes: object) -> Run:
    tensor = placed or PlacedTensor("number", "INT64", (1, 1), 0, 8)
    fields = RunFields("r", (tensor,), 1, 10.0, None, 0, {}, ())
    return Run(permit, msgspec.structs.replace(fields, **changes))


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[LinkRig]:
    made = LinkRig(limits=LIMITS)
    await made.start_pool()
    yield made
    made.gate.set()
    await made.stop()


async def connect(rig: LinkRig) -> Liar:
    liar = Liar()
    liar.channel = await rig.pipes.connect(liar)
    liar.say(Hello(1, 1, "1.0", 666))
    await until(lambda: bool(liar.came))
    return liar


async def cut_off(rig: LinkRig, liar: Liar, caplog: pytest.LogCaptureFixture, reason: str) -> None:
    """It is, with a reason in the log, and everybody else is served."""
    await until(lambda: liar.is_cut_off)
    assert reason in caplog.text
    assert "gate 666 of uid:1000 is cut off" in caplog.text
    honest = await rig.start_gate()
    await ask(honest, [1, 2], "bob")
    await until(lambda: rig.has_all_its_memory)


NAMES = msgspec.Raw(msgspec.msgpack.encode(["ada", "mine"]))
LIES: list[tuple[str, list[FromGate], str]] = [
    ("a permit number used twice", [admit(1), admit(1)], "permit 1 of 8 bytes after 1"),
    ("a permit number that goes back", [admit(5), admit(4)], "permit 4 of 8 bytes after 5"),
    ("a permit that it never had", [Release(7)], "permit 7, which it does not hold"),
    ("a permit released twice", [admit(1), Release(1), Release(1)], "permit 1, which it does not hold"),
    ("a run after its release", [admit(1), Release(1), run(1)], "permit 1, which it does not hold"),
    ("a run before its permit came", [admit(1), run(1)], "two things asked of one permit at once"),
    ("more permits than it may hold", [admit(number) for number in range(1, 6)], "more than 4 permits"),
    ("a permit for nobody", [Admit(1, OWNER, msgspec.Raw(b"\x80"), 8)], "are no principal"),
    ("less than no bytes", [admit(1, -1)], "permit 1 of -1 bytes"),
    ("a method that the engine has not", [Ask(1, "__class__", msgspec.Raw(b"\x90"))], "'__class__'"),
    ("the door by another way", [Ask(1, "admit", msgspec.Raw(b"\x90"))], "'admit'"),
    ("arguments that do not fit", [Ask(1, "statistics", msgspec.Raw(b"\x91\x01"))], "no arguments of statistics"),
    ("too many questions", [Ask(n, "cancel", NAMES) for n in range(3)], "more than 2 questions"),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "reason"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
async def test_a_lie_about_permits_ends_the_gate(
    rig: LinkRig, caplog: pytest.LogCaptureFixture, messages: list[FromGate], reason: str
):
    liar = await connect(rig)
    liar.say(*messages)
    await cut_off(rig, liar, caplog, reason)


PLACES: list[tuple[str, dict[str, object]]] = [
    ("behind its memory", {"placed": PlacedTensor("number", "INT64", (1, 1), RESERVED - 7, 8)}),
    ("before its memory", {"placed": PlacedTensor("number", "INT64", (1, 1), -8, 8)}),
    ("far away", {"placed": PlacedTensor("number", "INT64", (1, 1), 2**62, 8)}),
    ("shorter than nothing", {"placed": PlacedTensor("number", "INT64", (1, 1), 8, -8)}),
    ("longer than it says", {"placed": PlacedTensor("number", "INT64", (2, 1), 0, 8), "rows": 2}),
    ("of a million million rows", {"placed": PlacedTensor("number", "INT64", (10**12, 1), 0, 8), "rows": 10**12}),
    ("of no datatype", {"placed": PlacedTensor("number", "INT1", (1, 1), 0, 8)}),
    ("of no rows", {"rows": 0}),
    ("after the end of time", {"remaining_s": float("inf")}),
    ("at no time", {"remaining_s": float("nan")}),
    ("of less than no priority", {"priority": -1}),
]


@pytest.mark.parametrize("lie", [lie[1] for lie in PLACES], ids=[lie[0] for lie in PLACES])
async def test_a_run_of_inputs_that_lie_elsewhere_ends_the_gate(
    rig: LinkRig, caplog: pytest.LogCaptureFixture, lie: dict[str, object]
):
    liar = await connect(rig)
    liar.say(admit())
    await until(lambda: len(liar.came) == 3)
    liar.say(run(**lie))  # type: ignore[arg-type]
    await cut_off(rig, liar, caplog, "is cut off")
    assert all(len(batch.items) and batch.items[0].request.principal.key == "bob" for batch in rig.back_end.ran)


@pytest.mark.parametrize(
    "placed",
    [
        PlacedTensor("other", "INT64", (1, 1), 0, 8),
        PlacedTensor("number", "FP64", (1, 1), 0, 8),
        PlacedTensor("number", "INT64", (1, 1, 1), 0, 8),
        PlacedTensor("number", "INT64", (2, 1), 0, 16),
        PlacedTensor("number", "INT64", (), 0, 8),
    ],
)
async def test_inputs_of_another_signature_are_refused_because_the_model_may_have_changed(
    rig: LinkRig, placed: PlacedTensor
):
    liar = await connect(rig)
    liar.say(admit())
    await until(lambda: len(liar.came) == 3)
    liar.say(run(placed=placed))
    await until(lambda: isinstance(liar.came[-1], Failed))
    failed = liar.came[-1]
    assert isinstance(failed, Failed)
    assert failed.failure.kinds[0] == "Unavailable"
    assert not liar.is_cut_off
    assert not rig.back_end.ran


async def test_a_permit_runs_once(rig: LinkRig, caplog: pytest.LogCaptureFixture):
    liar = await connect(rig)
    liar.say(admit())
    await until(lambda: len(liar.came) == 3)
    liar.say(run())
    await until(lambda: isinstance(liar.came[-1], Done))
    liar.say(run())
    await cut_off(rig, liar, caplog, "a run before memory was reserved")


async def test_memory_is_not_changed_under_a_run(rig: LinkRig, caplog: pytest.LogCaptureFixture):
    liar = await connect(rig)
    rig.gate.clear()
    liar.say(admit())
    await until(lambda: len(liar.came) == 3)
    liar.say(run())
    await until(lambda: len(rig.back_end.ran) == 1)
    liar.say(Reserve(1, 8))
    await until(lambda: liar.is_cut_off)
    rig.gate.set()
    await cut_off(rig, liar, caplog, "two things asked of one permit at once")


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", struct.pack("<I", 5) + b"\xc1" * 5, struct.pack("<I", 2**32 - 1) + b"x"],
    ids=["another protocol", "no message", "a frame of 4 GiB"],
)
@pytest.mark.parametrize("is_greeted", [True, False], ids=["after hello", "before hello"])
async def test_garbage_ends_the_gate(rig: LinkRig, caplog: pytest.LogCaptureFixture, garbage: bytes, is_greeted: bool):
    liar = await connect(rig) if is_greeted else Liar()
    if not is_greeted:
        liar.channel = await rig.pipes.connect(liar)
    liar.channel.write(garbage)
    await until(lambda: liar.is_cut_off)
    assert "is cut off" in caplog.text
    await ask(await rig.start_gate(), [1])


async def test_a_gate_that_never_reads_is_cut_off_before_it_costs_memory(
    rig: LinkRig, caplog: pytest.LogCaptureFixture
):
    liar = await connect(rig)
    liar.channel.is_reading = False
    for _ in range(200):
        liar.say(*[Ping()] * 1000)
        await asyncio.sleep(0)
    await until(lambda: not rig.pool.gates)
    assert "it does not read" in caplog.text
    liar.channel.read_again()
    await cut_off(rig, liar, caplog, "it does not read")


async def test_a_gate_that_says_nothing_is_not_waited_for(caplog: pytest.LogCaptureFixture):
    rig = LinkRig(limits=LinkLimits(hello_timeout_s=0.02))
    await rig.start_pool()
    liar = Liar()
    liar.channel = await rig.pipes.connect(liar)
    await until(lambda: liar.is_cut_off)
    assert "it did not say who it is" in caplog.text
    await rig.stop()


VALUES = st.integers(-3, 6) | st.sampled_from([2**63 - 1, -(2**63)])
PLACED = st.builds(
    PlacedTensor,
    st.sampled_from(["number", "x"]),
    st.sampled_from(["INT64", "BYTES", "?"]),
    st.tuples(VALUES, VALUES) | st.just((1, 1)),
    VALUES,
    VALUES | st.just(8),
)
MESSAGES = st.lists(
    st.builds(admit, VALUES, VALUES, st.sampled_from([OWNER, ModelRef("x", "1")]))
    | st.builds(Reserve, VALUES, VALUES)
    | st.builds(Release, VALUES)
    | st.builds(lambda permit, placed, rows: run(permit, placed, rows=rows), VALUES, PLACED, VALUES)
    | st.builds(run, VALUES)
    | st.just(Ping()),
    max_size=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages=MESSAGES, pauses=st.lists(st.integers(0, 3), min_size=12, max_size=12), tail=st.binary(max_size=8))
def test_no_conversation_leaves_anything_behind(messages: list[FromGate], pauses: list[int], tail: bytes):
    async def talk() -> None:
        rig = LinkRig(limits=LIMITS)
        await rig.start_pool()
        liar = await connect(rig)
        for message, pause in zip(messages, pauses, strict=False):
            liar.say(message)
            for _ in range(pause):
                await asyncio.sleep(0)
        liar.channel.write(tail)
        await asyncio.sleep(0)
        liar.channel.close()
        await until(lambda: not rig.pool.gates and rig.has_all_its_memory)
        await ask(await rig.start_gate(), [4])
        await rig.stop()

    _run(talk)


def _run(talk: Callable[[], object]) -> None:
    with asyncio.Runner() as runner:
        runner.run(talk())  # type: ignore[arg-type]
