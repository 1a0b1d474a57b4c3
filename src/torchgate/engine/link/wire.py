"""Messages between a gate and its pool: typed, versioned, msgpack in length-prefixed frames. No pickle.

The life of a connection:

    gate                            pool
    Hello                           Welcome, or Refused and the end
                                    Catalogue               and again after each change
    Admit                           (NewSection) Admitted | Failed
    Reserve                         (NewSection) Reserved | Failed      only where the inputs need more
    Run                             (NewSection) Done | Failed
    Release                                                 once for each Admit, whatever came of it
    Ask                             Answer | AskFailed      every other method of the engine
    Ping                            Pong                    from time to time

Permits are numbered by the gate, upwards, and mean nothing on another connection. Hello, Welcome and Refused keep
their form in every version, so that the two can always say why they do not understand each other.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from torchgate.contract.decision import ModelRef
from torchgate.contract.inference import ModelDescription, ParameterValue, Timing
from torchgate.contract.tensors import PlacedTensor
from torchgate.engine.link.failures import Failure

OLDEST_PROTOCOL = 1
NEWEST_PROTOCOL = 1
"""Raised with every incompatible change; while a gate and a pool of neighbouring versions must do, both are spoken."""

LEAST_EARLY_BYTES = 4096
"""Memory that comes with a permit at least: JSON of a few bytes can be larger when it is decoded."""

MOST_EARLY_BYTES = 4 << 20
"""Memory that comes with a permit at most; whoever needs more asks when the body has told how much, so that slow
uploads of announced gigabytes hold none."""

_LENGTH = struct.Struct("<I")
_Message = TypeVar("_Message")


class Hello(msgspec.Struct, frozen=True, tag=True):
    """A gate's first message.

    Args:
        oldest, newest: protocols that it speaks.
        program: its version of Torchgate, for sentences.
        pid: of its process, for logs; never for a decision.
    """

    oldest: int
    newest: int
    program: str
    pid: int = 0


class Welcome(msgspec.Struct, frozen=True, tag=True):
    """The pool's answer.

    Args:
        protocol: what both speak from here.
        program: the pool's version of Torchgate.
        max_permits: that this gate may hold at once.
    """

    protocol: int
    program: str
    max_permits: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The pool won't have this gate; the connection ends.

    Args:
        sentence: for the person who runs the gate.
    """

    sentence: str


class Admit(msgspec.Struct, frozen=True, tag="admit", array_like=True):
    """Engine.admit, and memory for as many bytes.

    Args:
        principal: a contract.principal.Principal (engine/link/principals.py).
        activation: of the loading that the gate has in mind.
    """

    permit: int
    ref: ModelRef
    principal: msgspec.Raw
    announced_bytes: int
    activation: int = 0


class Reserve(msgspec.Struct, frozen=True, tag="reserve", array_like=True):
    """Permit.reserve."""

    permit: int
    length: int


class RunFields(msgspec.Struct, frozen=True, array_like=True):
    """An InferenceRequest without its principal, which is the permit's.

    Args:
        remaining_s: until the deadline; a span, because the clocks of two processes need not agree.
    """

    request_id: str
    inputs: tuple[PlacedTensor, ...]
    rows: int
    remaining_s: float
    outputs: tuple[str, ...] | None
    priority: int
    parameters: Mapping[str, ParameterValue]
    client_ids: tuple[str, ...]


class Run(msgspec.Struct, frozen=True, tag="run", array_like=True):
    """Permit.run."""

    permit: int
    fields: RunFields


class Release(msgspec.Struct, frozen=True, tag="release", array_like=True):
    """Permit.release; what runs under the permit is taken back."""

    permit: int


class Ask(msgspec.Struct, frozen=True, tag="ask", array_like=True):
    """Any other awaited method of contract.inference.Engine.

    Args:
        arguments: of the method, in its order.
    """

    ask: int
    method: str
    arguments: msgspec.Raw


class Ping(msgspec.Struct, frozen=True, tag="ping", array_like=True):
    """Are you there? A pool that stands still is as good as gone."""


class Pong(msgspec.Struct, frozen=True, tag="pong", array_like=True):
    """The answer to Ping."""


class Catalogue(msgspec.Struct, frozen=True, tag="catalogue", array_like=True):
    """All that the gate may say of models without asking.

    Args:
        models: as Engine.models gives them.
        defaults: name → the version that a request without one means.
        is_warm: as Engine.is_warm.
        not_ready_reason: as Engine.not_ready_reason; pools before it said nothing of it.
    """

    models: tuple[ModelDescription, ...]
    defaults: Mapping[str, str]
    is_warm: bool
    not_ready_reason: str = ""


class NewSection(msgspec.Struct, frozen=True, tag="section", array_like=True):
    """Memory that later messages speak of.

    Args:
        section: its number on this connection.
        token: by which the gate's end of the channel opens it.
    """

    section: int
    token: str
    length: int


class SectionGone(msgspec.Struct, frozen=True, tag="gone", array_like=True):
    """No later message speaks of it."""

    section: int


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """Some bytes of a section."""

    section: int
    offset: int
    length: int


class Admitted(msgspec.Struct, frozen=True, tag="admitted", array_like=True):
    """The permit is given; with memory, unless there is none now or the body is too long to hold it from here.

    Args:
        description: of what will answer, where that is another loading than the gate had in mind.
    """

    permit: int
    stretch: Stretch | None
    description: ModelDescription | None = None


class Reserved(msgspec.Struct, frozen=True, tag="reserved", array_like=True):
    """Memory for the inputs, instead of what the permit had before."""

    permit: int
    stretch: Stretch


class Done(msgspec.Struct, frozen=True, tag="done", array_like=True):
    """An InferenceResponse; its payload is the stretch."""

    permit: int
    outputs: tuple[PlacedTensor, ...]
    stretch: Stretch
    timing: Timing


class Failed(msgspec.Struct, frozen=True, tag="failed", array_like=True):
    """What was asked of the permit last was refused."""

    permit: int
    failure: Failure


class Answer(msgspec.Struct, frozen=True, tag="answer", array_like=True):
    """What the asked method returned."""

    ask: int
    value: msgspec.Raw


class AskFailed(msgspec.Struct, frozen=True, tag="ask_failed", array_like=True):
    """What the asked method raised."""

    ask: int
    failure: Failure


FromGate = Admit | Reserve | Run | Release | Ask | Ping
FromPool = Catalogue | NewSection | SectionGone | Admitted | Reserved | Done | Failed | Answer | AskFailed | Pong

_encoder = msgspec.msgpack.Encoder()
_hello: msgspec.msgpack.Decoder[Hello] = msgspec.msgpack.Decoder(Hello)
_welcome: msgspec.msgpack.Decoder[Welcome | Refused] = msgspec.msgpack.Decoder(Welcome | Refused)
_from_gate: msgspec.msgpack.Decoder[FromGate] = msgspec.msgpack.Decoder(FromGate)
_from_pool: msgspec.msgpack.Decoder[FromPool] = msgspec.msgpack.Decoder(FromPool)


class LinkBroken(Exception):
    """The other side sent what no sound gate or pool sends; the connection is worthless from here."""


def encode(message: FromGate | FromPool | Hello | Welcome | Refused) -> bytes:
    """One frame: u32 little-endian length, then msgpack."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def decode_hello(frame: bytes) -> Hello:
    """A gate's first message.

    Raises:
        LinkBroken: it is none.
    """
    return _decoded(_hello, frame)


def decode_welcome(frame: bytes) -> Welcome | Refused:
    """A pool's first message.

    Raises:
        LinkBroken: it is none.
    """
    return _decoded(_welcome, frame)


def decode_from_gate(frame: bytes) -> FromGate:
    """A message for the pool.

    Raises:
        LinkBroken: it is none.
    """
    return _decoded(_from_gate, frame)


def decode_from_pool(frame: bytes) -> FromPool:
    """A message for the gate.

    Raises:
        LinkBroken: it is none.
    """
    return _decoded(_from_pool, frame)


def common_protocol(hello: Hello) -> int | None:
    """The newest protocol that both speak; None if there is none."""
    newest = min(NEWEST_PROTOCOL, hello.newest)
    return newest if newest >= max(OLDEST_PROTOCOL, hello.oldest) else None


def _decoded(decoder: msgspec.msgpack.Decoder[_Message], frame: bytes) -> _Message:
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LinkBroken(f"a frame of {len(frame)} bytes is no message: {error}") from None
