"""Messages between the engine and a worker: typed, versioned, msgpack in length-prefixed frames. No pickle.

The life of a worker on this wire:

    engine                          worker
    (starts the process)            Hello              torch is imported: standby
    Load (with the channel's key)   Warming               loaded; runs on made-up input
                                    Loaded                … or LoadFailed, before or after Warming
    Run                             RunDone               or NeedSpace → Space → RunDone
    …
    Stop, or the channel's end      (exits)

Run and Space travel in Sealed: contract/worker_seal.py says why.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import msgspec

from torchgate.contract.principal import RowPrincipal
from torchgate.contract.tensors import PlacedTensor, Signature
from torchgate.contract.tuning import Tuned

PROTOCOL_VERSION = 4
"""Raised with every incompatible change; Hello carries the worker's, and the engine refuses another."""

MAX_FRAME_BYTES = 16 << 20
"""Of one message; tensors don't travel in messages, so that far less is usual."""

_LENGTH = struct.Struct("<I")


class Load(msgspec.Struct, frozen=True, tag=True):
    """Become the holder of one model version. Fields as in back_end.Artifact.

    Args:
        section_token, section_length: the section where all tensors of this version lie.
        channel_key: by which the worker knows the orders of the pool that sent this.
        impersonates: its code acts with its caller's rights, by the token that comes with each Run.
    """

    model: str
    version: str
    format: str
    folder: str
    entry: str
    signature: Signature
    max_batch_size: int
    device: str
    parameters: Mapping[str, object]
    warm_up: int
    section_token: int
    section_length: int
    idempotent: bool
    device_memory_fraction: float = 0.0
    tuned: Tuned | None = None
    channel_key: bytes = b""
    impersonates: bool = False


class RunItem(msgspec.Struct, frozen=True, array_like=True):
    """One request's rows; offsets of inputs count from the section's start."""

    inputs: tuple[PlacedTensor, ...]
    rows: int
    principal: RowPrincipal
    outputs: tuple[str, ...] | None
    parameters: Mapping[str, bool | int | float | str]


class Run(msgspec.Struct, frozen=True, tag=True):
    """Run these requests together.

    Args:
        space_offset, space_length: where in the section the outputs may be written.
        deadline_at: the earliest of its requests, on the monotonic clock.
        token: handle, in the worker, of the one token that all of these callers have; the worker's to close. 0: none.
    """

    batch_id: int
    items: tuple[RunItem, ...]
    space_offset: int
    space_length: int
    deadline_at: float
    token: int = 0


class Space(msgspec.Struct, frozen=True, tag=True):
    """The answer to NeedSpace; length 0: there is none, and the batch fails."""

    batch_id: int
    space_offset: int
    space_length: int


class Sealed(msgspec.Struct, frozen=True, tag=True):
    """A Run or Space as the worker's own pool sends it.

    Args:
        number: 1, 2, … on this channel.
        seal: over number and order, with the channel's key.
        order: encoded.
    """

    number: int
    seal: bytes
    order: msgspec.Raw


class Stop(msgspec.Struct, frozen=True, tag=True):
    """End after what you are doing."""


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The worker's first message: torch is imported."""

    protocol: int
    pid: int
    torch: str
    python: str


class Warming(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded and runs on made-up input."""

    load_s: float


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded and has answered its warm-up."""

    load_s: float
    warm_up_s: float


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The model can't be loaded.

    Args:
        reason: for the operator (`models status`): what, which, what to do.
        detail: traceback, for the log.
    """

    reason: str
    detail: str


class NeedSpace(msgspec.Struct, frozen=True, tag=True):
    """The outputs are longer than the space given; they wait in the worker."""

    batch_id: int
    length: int


class ItemDone(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """One request's outputs; offsets count from the section's start."""

    outputs: tuple[PlacedTensor, ...]


class ItemFailed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """One request's own failure: the model raised on it alone, or answered against its signature.

    Args:
        sentence: for the caller; nothing of the exception's text.
        detail: exception and traceback, for the log.
    """

    sentence: str
    detail: str


class RunDone(msgspec.Struct, frozen=True, tag=True):
    """The batch is over; items in the order of Run."""

    batch_id: int
    items: tuple[ItemDone | ItemFailed, ...]
    collate_s: float
    predict_s: float
    split_s: float


Order = Run | Space
ToWorker = Load | Sealed | Stop
FromWorker = Hello | Warming | Loaded | LoadFailed | NeedSpace | RunDone

_encoder = msgspec.msgpack.Encoder()
_order: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


class WireError(Exception):
    """The other side sent what is no message of ours; the connection is worthless from here."""


def encode(message: ToWorker | FromWorker) -> bytes:
    """One frame: u32 little-endian length, then msgpack."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def decode_to_worker(frame: bytes | memoryview) -> ToWorker:
    """A message for the worker.

    Raises:
        WireError: it is none.
    """
    try:
        return _to_worker.decode(frame)
    except msgspec.MsgspecError as error:
        raise WireError(str(error)) from None


def encode_order(order: Order) -> bytes:
    """An order, to be sealed."""
    return _encoder.encode(order)


def decode_order(body: bytes) -> Order:
    """An order whose seal was examined.

    Raises:
        WireError: it is none.
    """
    try:
        return _order.decode(body)
    except msgspec.MsgspecError as error:
        raise WireError(str(error)) from None


def decode_from_worker(frame: bytes | memoryview) -> FromWorker:
    """A message for the engine.

    Raises:
        WireError: it is none.
    """
    try:
        return _from_worker.decode(frame)
    except msgspec.MsgspecError as error:
        raise WireError(str(error)) from None


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete now.

        Raises:
            WireError: a frame announces more than MAX_FRAME_BYTES.
        """
        pending = self._pending
        if pending:
            pending += data
            whole: bytes | bytearray = pending
        else:
            whole = data  # as a rule frames come whole
        start = 0
        while len(whole) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(whole, start)
            if length > MAX_FRAME_BYTES:
                raise WireError(f"a frame of {length} bytes; at most {MAX_FRAME_BYTES}")
            end = start + _LENGTH.size + length
            if len(whole) < end:
                break
            yield bytes(whole[start + _LENGTH.size : end])
            start = end
        if whole is pending:
            del pending[:start]
        elif start < len(data):
            pending += data[start:]
