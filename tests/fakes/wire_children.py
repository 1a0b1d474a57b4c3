"""Children without processes: each speaks the worker's wire as a script of the test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from torchgate.contract.caller_tokens import CallerToken
from torchgate.contract.os_services import ChannelReceiver, ChildSpec, Section
from torchgate.contract.tensors import PlacedTensor
from torchgate.contract.worker_limits import Enforcement, WorkerLimits
from torchgate.contract.worker_seal import Opener
from torchgate.contract.worker_wire import (
    PROTOCOL_VERSION,
    Frames,
    FromWorker,
    Hello,
    ItemDone,
    Load,
    Loaded,
    NeedSpace,
    Order,
    Run,
    RunDone,
    Sealed,
    Space,
    Stop,
    Warming,
    decode_to_worker,
    encode,
)

Heard = Load | Order | Stop
Script = Callable[["WireChild", Heard], None]


class HeapSection:
    """Ordinary memory that was never shared."""

    def __init__(self, length: int) -> None:
        self.view = memoryview(bytearray(length))
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class HeapSections:
    """Implements os_services.Sections."""

    def __init__(self) -> None:
        self.made: list[HeapSection] = []

    def create(self, length: int, *, shared_with: Collection[str] = ()) -> HeapSection:
        self.made.append(HeapSection(length))
        return self.made[-1]


class WireChild:
    """Implements os_services.Child: answers in the loop's next turn."""

    def __init__(self, spec: ChildSpec, receiver: ChannelReceiver, script: Script, pid: int) -> None:
        self.spec = spec
        self.pid = pid
        self.section: Section | None = None
        self.is_killed = False
        self.limits: WorkerLimits | None = None
        self.limit_refusal: OSError | None = None
        self.lend_refusal: OSError | None = None
        self.lent: list[CallerToken] = []
        self.heard: list[Heard] = []
        self._opener: Opener | None = None
        self._receiver = receiver
        self._script = script
        self._frames = Frames()
        self._exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def write(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            message = decode_to_worker(frame)
            if isinstance(message, Load):
                self._opener = Opener(message.channel_key)
            if isinstance(message, Sealed):
                assert self._opener is not None
                message = self._opener.opened(message)
            self.heard.append(message)
            asyncio.get_running_loop().call_soon(self._hear, message)

    def hand_over(self, section: Section) -> int:
        self.section = section
        return 7

    def lend(self, token: CallerToken) -> int:
        if self.lend_refusal is not None:
            raise self.lend_refusal
        if not token.is_open:
            raise OSError("the token was given back already")
        self.lent.append(token)
        return 1000 + 4 * len(self.lent)

    def limit(self, limits: WorkerLimits) -> tuple[Enforcement, ...]:
        if self.limit_refusal is not None:
            raise self.limit_refusal
        self.limits = limits
        return (Enforcement("memory_bytes", "rlimit"),) if limits.memory_bytes else ()

    def kill(self) -> None:
        self.is_killed = True
        self.end(-9)

    async def wait(self) -> int:
        return await asyncio.shield(self._exit_code)

    def say(self, message: FromWorker) -> None:
        self.say_bytes(encode(message))

    def say_bytes(self, data: bytes) -> None:
        if not self._exit_code.done():
            self._receiver.data_received(data)

    def end(self, code: int) -> None:
        if not self._exit_code.done():
            self._exit_code.set_result(code)
            asyncio.get_running_loop().call_soon(self._receiver.channel_closed)

    def _hear(self, message: Heard) -> None:
        if not self._exit_code.done():
            self._script(self, message)


class WireChildren:
    """Implements os_services.Children.

    Args:
        script: what each child does on each message.
        says_hello: False: it never comes to life; the test says it.
    """

    def __init__(self, script: Script, *, says_hello: bool = True) -> None:
        self.script = script
        self.says_hello = says_hello
        self.started: list[WireChild] = []
        self.refusal: OSError | None = None
        self.is_closed = False

    def close(self) -> None:
        assert not self.alive
        self.is_closed = True

    async def start(self, spec: ChildSpec, receiver: ChannelReceiver, on_output: Callable[[bytes], None]) -> WireChild:
        if self.refusal is not None:
            raise self.refusal
        child = WireChild(spec, receiver, self.script, 1000 + len(self.started))
        self.started.append(child)
        if self.says_hello:
            asyncio.get_running_loop().call_soon(lambda: child.say(Hello(PROTOCOL_VERSION, child.pid, "2", "3")))
        return child

    @property
    def alive(self) -> list[WireChild]:
        """Those that have not ended."""
        return [child for child in self.started if not child._exit_code.done()]


def well_behaved(child: WireChild, message: Heard) -> None:
    """Loads anything; answers each item with its first input."""
    if isinstance(message, Load):
        child.say(Warming(0.0))
        child.say(Loaded(0.0, 0.0))
    elif isinstance(message, Run):
        answer(child, message, message.space_offset, message.space_length)
    elif isinstance(message, Stop):
        child.end(0)


def answer(child: WireChild, run: Run, offset: int, length: int) -> None:
    """Echo each item's first input as output `double`, or ask for space where it does not fit."""
    needed = sum(max(64, item.inputs[0].length + -item.inputs[0].length % 64) for item in run.items)
    if needed > length:
        child.say(NeedSpace(run.batch_id, needed))
        return
    assert child.section is not None
    memory, items = child.section.view, []
    for item in run.items:
        placed = item.inputs[0]
        memory[offset : offset + placed.length] = memory[placed.offset : placed.offset + placed.length]
        items.append(ItemDone((PlacedTensor("double", placed.datatype, placed.shape, offset, placed.length),)))
        offset += max(64, placed.length + -placed.length % 64)
    child.say(RunDone(run.batch_id, tuple(items), 0.0, 0.0, 0.0))


def last_run(child: WireChild) -> Run:
    """What it was told to run last."""
    return next(message for message in reversed(child.heard) if isinstance(message, Run))


def spaces(child: WireChild) -> list[Space]:
    """What space it was given, each time that it asked."""
    return [message for message in child.heard if isinstance(message, Space)]
