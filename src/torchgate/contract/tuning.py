"""How a version runs fastest, and what is said between `models tune` and the process that measures it.

the command                     the process
(starts it)                     (imports torch)
Tune                            TuneStep …            what it does now
TuneDone | TuneFailed, and it ends
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from torchgate.contract.tensors import Signature

Choice = Literal["eager", "channels_last", "aoti"]
TUNED_FOLDER = "tuned"
"""In a version's folder: what `models tune` puts there."""

PACKAGE = f"{TUNED_FOLDER}/aoti.pt2"
"""The compiled package, relative to the version's folder."""


class Tuned(msgspec.Struct, frozen=True):
    """What a worker obeys; measured before, on a machine and with a torch that must be the same now.

    Args:
        choice: `channels_last` or `aoti`; `eager` changes nothing.
        torch: version.
        machine: as the worker describes it.
        made_of: SHA-256 over the files and settings that were measured; others must not be answered for.
        package_sha256: of the compiled package, or empty.
    """

    choice: Choice
    torch: str
    machine: str
    made_of: str
    package_sha256: str = ""


class Tune(msgspec.Struct, frozen=True, tag=True):
    """Measure this version. Fields as in back_end.Artifact.

    Args:
        package: absolute path where a compiled package goes.
        budget_s: of measuring, for each number of rows.
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
    package: str
    budget_s: float


class TuneStep(msgspec.Struct, frozen=True, tag=True):
    """What happens now, for a person who waits."""

    sentence: str


class Candidate(msgspec.Struct, frozen=True):
    """One way to run the version.

    Args:
        median_ms: of one run, for each number of rows; empty where it can't be chosen.
        difference: the largest from eager's answers, as a part of the largest value of that output.
        reason: why it can't be chosen, or empty.
    """

    choice: Choice
    median_ms: tuple[float, ...] = ()
    difference: float = 0.0
    reason: str = ""


class TuneDone(msgspec.Struct, frozen=True, tag=True):
    """The measurement.

    Args:
        rows: numbers of rows that were measured; one 0 for a model that takes no batches.
        candidates: eager first.
        tolerances: datatype → how far answers may differ, for the outputs' datatypes.
        tuned: the fastest; `reason` says why it is eager, where it is.
    """

    rows: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    tolerances: Mapping[str, float]
    threads: int
    tuned: Tuned
    reason: str


class TuneFailed(msgspec.Struct, frozen=True, tag=True):
    """Nothing could be measured; what for the operator, and the traceback for who looks closer."""

    reason: str
    detail: str


FromTuner = TuneStep | TuneDone | TuneFailed

_encoder = msgspec.msgpack.Encoder()
_from_tuner: msgspec.msgpack.Decoder[FromTuner] = msgspec.msgpack.Decoder(FromTuner)
_to_tuner: msgspec.msgpack.Decoder[Tune] = msgspec.msgpack.Decoder(Tune)


def encode_tuning(message: Tune | FromTuner) -> bytes:
    """One frame, as worker_wire.Frames cuts them."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "little") + body


def decode_tune(frame: bytes) -> Tune:
    """The order. Raises msgspec.MsgspecError where it is none."""
    return _to_tuner.decode(frame)


def decode_from_tuner(frame: bytes) -> FromTuner:
    """What the process says. Raises msgspec.MsgspecError where it is nothing of ours."""
    return _from_tuner.decode(frame)
