"""golden.json: an input of a version with the answer that it must give, tried before any caller's."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy

from torchgate.contract.back_end import Artifact, BackEnd, Batch, BatchItem, BatchLost, ItemAnswer
from torchgate.contract.bounded_files import read_bounded
from torchgate.contract.clock import monotonic_s
from torchgate.contract.errors import TorchgateError
from torchgate.contract.inference import InferenceRequest
from torchgate.contract.principal import Principal
from torchgate.contract.tensors import PlacedTensor, TensorSpec, element_count

GOLDEN_FILE = "golden.json"
MAX_GOLDEN_BYTES = 256 << 20

_ALIGNMENT_BYTES = 64
_PRINCIPAL = Principal("torchgate", "golden input", "api_key", "torchgate")
_NUMPY_TYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


class GoldenMistake(Exception):
    """The file says nothing that this version could be asked; the text says why."""


class GoldenTensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tensor, as the Open Inference Protocol writes it in JSON."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[Any]


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of golden.json.

    Args:
        inputs: each input of the signature once.
        outputs: those that are compared.
        absolute_tolerance, relative_tolerance: floating-point numbers may differ by the first plus the second times
            the expected number; everything else must be equal.
    """

    inputs: tuple[GoldenTensor, ...]
    outputs: tuple[GoldenTensor, ...]
    absolute_tolerance: float = 1e-5
    relative_tolerance: float = 1e-4


def read_golden(folder: Path) -> Golden | None:
    """What a version's folder says; None where it has no such file.

    Raises:
        GoldenMistake: it can't be read.
    """
    try:
        content = read_bounded(folder / GOLDEN_FILE, MAX_GOLDEN_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise GoldenMistake(f"{GOLDEN_FILE} can't be read: {error.strerror or error}") from None
    try:
        return msgspec.json.decode(content, type=Golden)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise GoldenMistake(f"{GOLDEN_FILE} is not what it must be: {error}") from None


def file_mistake(golden: Golden, artifact: Artifact) -> str:
    """What this version could not be asked, found without asking it; empty where it could."""
    try:
        _request(golden, artifact)
        for one in golden.outputs:
            _expected(one, artifact)
    except GoldenMistake as error:
        return str(error)
    return ""


async def golden_mistake(golden: Golden, artifact: Artifact, back_end: BackEnd) -> str:
    """Why a loading must not serve, as its own answer shows; empty where it answers as it must."""
    try:
        request, pieces = _request(golden, artifact)
        expected = {one.name: _expected(one, artifact) for one in golden.outputs}
        answer = await _run(request, pieces, artifact, back_end)
    except GoldenMistake as error:
        return str(error)
    except BatchLost as lost:
        what = "took longer than limits.max_run_s" if lost.hung else "ended its worker"
        return f"the input of {GOLDEN_FILE} {what}"
    except TorchgateError as error:
        return f"the input of {GOLDEN_FILE} was not answered: {error.detail or error.sentence}"
    for name, (spec_type, values) in expected.items():
        difference = _difference(answer[name], spec_type, values, golden)
        if difference:
            return f"it does not answer the input of {GOLDEN_FILE} as it must: output {name!r} {difference}"
    return ""


async def _run(
    request: InferenceRequest, pieces: Sequence[bytes], artifact: Artifact, back_end: BackEnd
) -> dict[str, tuple[tuple[int, ...], bytes]]:
    """Shape and bytes of each output."""
    length = max((tensor.offset + tensor.length for tensor in request.inputs), default=0)
    slot = back_end.reserve(artifact.activation, length)
    try:
        for tensor, piece in zip(request.inputs, pieces, strict=True):
            slot.view[tensor.offset : tensor.offset + tensor.length] = piece
        # No batch of callers has the number 0.
        batch = Batch(0, artifact.activation, (BatchItem(request, slot),), request.rows)
        item = (await back_end.run(batch)).items[0]
    finally:
        slot.release()
    if not isinstance(item, ItemAnswer):
        raise item
    view = item.memory.view
    try:
        return {one.name: (one.shape, bytes(view[one.offset : one.offset + one.length])) for one in item.outputs}
    finally:
        item.memory.release()


def _request(golden: Golden, artifact: Artifact) -> tuple[InferenceRequest, list[bytes]]:
    given = {one.name: one for one in golden.inputs}
    specs = artifact.signature.inputs
    if len(given) != len(golden.inputs) or given.keys() != {spec.name for spec in specs}:
        names = ", ".join(spec.name for spec in specs)
        raise GoldenMistake(f"{GOLDEN_FILE} must give each input once: {names}")
    placed: list[PlacedTensor] = []
    pieces: list[bytes] = []
    offset, rows = 0, set()
    for spec in specs:
        one = given[spec.name]
        _examine_shape(one, spec, artifact)
        rows.add(one.shape[0] if artifact.max_batch_size else 1)
        piece = _encoded(one)
        placed.append(PlacedTensor(spec.name, spec.datatype, one.shape, offset, len(piece)))
        pieces.append(piece)
        offset += len(piece) + -len(piece) % _ALIGNMENT_BYTES
    if len(rows) != 1 or not 1 <= min(rows) <= max(1, artifact.max_batch_size):
        raise GoldenMistake(f"{GOLDEN_FILE} must have as many rows in each input, and no more than a batch has")
    deadline_at = monotonic_s() + 2 * artifact.max_run_s
    return InferenceRequest("golden", _PRINCIPAL, tuple(placed), rows.pop(), deadline_at), pieces


def _examine_shape(one: GoldenTensor, spec: TensorSpec, artifact: Artifact) -> None:
    shape = one.shape[1:] if artifact.max_batch_size else one.shape
    if one.datatype != spec.datatype or not spec.admits(shape) or (artifact.max_batch_size and not one.shape):
        raise GoldenMistake(
            f"{GOLDEN_FILE} gives {one.name!r} as {one.datatype} of shape {list(one.shape)}, which is not what "
            "model.toml says"
        )


def _expected(one: GoldenTensor, artifact: Artifact) -> tuple[str, GoldenTensor]:
    spec = next((spec for spec in artifact.signature.outputs if spec.name == one.name), None)
    if spec is None:
        raise GoldenMistake(f"{GOLDEN_FILE} expects an output {one.name!r}, which the model does not have")
    _examine_shape(one, spec, artifact)
    _encoded(one)
    return spec.datatype, one


def _encoded(one: GoldenTensor) -> bytes:
    try:
        if one.datatype == "BYTES":
            elements = [element.encode() for element in _flat(one.data)]
            _examine_count(one, len(elements))
            return b"".join(struct.pack("<I", len(element)) + element for element in elements)
        values = numpy.array(one.data, dtype=_NUMPY_TYPES[one.datatype])
    except KeyError:
        raise GoldenMistake(f"{GOLDEN_FILE} can't hold {one.datatype}, of {one.name!r}") from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise GoldenMistake(f"the data of {one.name!r} in {GOLDEN_FILE} are not {one.datatype}: {error}") from None
    _examine_count(one, values.size)
    return values.tobytes()


def _examine_count(one: GoldenTensor, count: int) -> None:
    try:
        needed = element_count(one.shape)
    except ValueError as error:
        raise GoldenMistake(f"the shape of {one.name!r} in {GOLDEN_FILE} is none: {error}") from None
    if needed != count:
        raise GoldenMistake(f"{one.name!r} in {GOLDEN_FILE} has {count} values; its shape needs {needed}")


def _flat(data: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for value in data:
        flat += _flat(value) if isinstance(value, list) else [value]
    return flat


def _difference(seen: tuple[tuple[int, ...], bytes], datatype: str, wanted: GoldenTensor, golden: Golden) -> str:
    """What is wrong with an output, as the end of a sentence; empty where nothing is."""
    shape, data = seen
    if shape != wanted.shape:
        return f"has shape {list(shape)} instead of {list(wanted.shape)}"
    expected = _encoded(wanted)
    if data == expected:
        return ""
    if not datatype.startswith("FP"):
        return "is another"
    kind = _NUMPY_TYPES[datatype]
    have = numpy.frombuffer(data, kind).astype("f8")
    want = numpy.frombuffer(expected, kind).astype("f8")
    allowed = golden.absolute_tolerance + golden.relative_tolerance * numpy.abs(want)
    is_same = (have == want) | (numpy.isnan(have) & numpy.isnan(want))
    with numpy.errstate(invalid="ignore"):
        is_wrong = ~is_same & ~(numpy.abs(have - want) <= allowed)
    if not is_wrong.any():
        return ""
    index = int(numpy.argmax(is_wrong))
    return f"has {have[index]:g} as element {index} instead of {want[index]:g}, allowed is {allowed[index]:.3g} off"
