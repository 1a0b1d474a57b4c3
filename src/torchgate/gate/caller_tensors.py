"""Arrays of a mounted application ⇄ tensors of the contract; torch's are taken where the application has torch.

Nothing is rounded or cut in silence but what a narrower float rounds: a number that does not fit is refused.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy

from torchgate.contract.errors import InvalidRequest
from torchgate.contract.inference import InferenceResponse, ModelDescription
from torchgate.contract.tensors import PlacedTensor, TensorSpec
from torchgate.gate.binary_tensors import elements
from torchgate.gate.inference_json import InputJson
from torchgate.gate.json_tensors import NUMPY_TYPES
from torchgate.gate.open_inference import ALIGNMENT_BYTES, examine_shape

Values = Any
"""A numpy array, nested lists, a torch.Tensor where the application has imported torch; for BYTES bytes or str in them.

Any, because this room must not know torch.
"""

_PREFIX = struct.Struct("<I")
_BF16_BITS = 16
_BF16_HALF = 0x7FFF
_TYPES: Mapping[str, str] = {**NUMPY_TYPES, "FP16": "<f2"}


class EncodedTensor(msgspec.Struct, frozen=True):
    """One input as bytes, with its place."""

    placed: PlacedTensor
    content: bytes


def encode_inputs(inputs: Mapping[str, Values], description: ModelDescription) -> tuple[list[EncodedTensor], int, int]:
    """The inputs in the order of the signature; their rows, and the bytes that all take with their alignment.

    Raises:
        InvalidRequest: they are not what the model takes.
    """
    known = {spec.name: spec for spec in description.signature.inputs}
    for name in inputs:
        if name not in known:
            raise InvalidRequest(f"Input '{str(name)[:64]}' is not one of this model. It has: {', '.join(known)}.")
    encoded: list[EncodedTensor] = []
    end = 0
    for spec in known.values():
        if spec.name not in inputs:
            raise InvalidRequest(f"Input '{spec.name}' of model '{description.ref.name}' is missing.")
        shape, content = _encode(inputs[spec.name], spec, description.max_batch_size)
        offset = end + (-end % ALIGNMENT_BYTES)
        end = offset + len(content)
        encoded.append(EncodedTensor(PlacedTensor(spec.name, spec.datatype, shape, offset, len(content)), content))
    if not description.max_batch_size:
        return encoded, 1, end
    rows = {tensor.placed.shape[0] for tensor in encoded}
    if len(rows) > 1:
        raise InvalidRequest(f"The inputs have different numbers of rows: {', '.join(map(str, sorted(rows)))}.")
    return encoded, rows.pop(), end


def decode_outputs(response: InferenceResponse) -> dict[str, numpy.ndarray[Any, Any]]:
    """The outputs as numpy arrays of their own memory: BYTES as objects that are `bytes`, BF16 widened to float32."""
    return {tensor.name: _decode(tensor, response.payload) for tensor in response.outputs}


def _encode(values: Values, spec: TensorSpec, max_batch_size: int) -> tuple[tuple[int, ...], bytes]:
    array = _as_array(values, spec)
    shape = tuple(int(dimension) for dimension in array.shape)
    examine_shape(InputJson(spec.name, spec.datatype, list(shape)), spec, shape, max_batch_size)
    if spec.datatype == "BYTES":
        return shape, _encode_elements(spec, array.ravel().tolist())
    if spec.datatype == "BF16":
        return shape, _encode_bf16(spec, array)
    return shape, _converted(spec, array, _TYPES[spec.datatype]).tobytes()


def _as_array(values: Any, spec: TensorSpec) -> numpy.ndarray[Any, Any]:
    torch: Any = sys.modules.get("torch")  # never imported here: an application that has tensors has it
    tensor_type: Any = getattr(torch, "Tensor", ())
    if isinstance(values, tensor_type):
        tensor = values.detach().cpu()
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.to(torch.float32)  # exact
        values = tensor.numpy()
    try:
        if spec.datatype == "BYTES" and not isinstance(values, numpy.ndarray):
            return _nested_objects(values)
        array = numpy.asarray(values)
        if spec.datatype == "UINT64" and array.dtype.kind == "f" and not isinstance(values, numpy.ndarray):
            # Small and huge integers in one list: numpy makes floats of them, which have too few digits.
            whole = numpy.array(values, object)
            array = numpy.array(values, "<u8") if all(type(item) is int for item in whole.flat) else array
        return array
    except (ValueError, TypeError, OverflowError, RuntimeError):
        raise InvalidRequest(f"Input '{spec.name}' is no array: its rows differ in length or kind.") from None


def _nested_objects(values: Values) -> numpy.ndarray[Any, Any]:
    """Lists of text as an array of objects: numpy's own would cut trailing zero bytes off."""
    shape: list[int] = []
    level = [values]
    while level and isinstance(level[0], list | tuple):
        lengths = {len(inner) if isinstance(inner, list | tuple) else -1 for inner in level}
        if len(lengths) > 1:
            raise ValueError("ragged")
        shape.append(lengths.pop())
        level = [item for inner in level for item in inner]
    array = numpy.empty(len(level), object)
    array[:] = level
    return array.reshape(shape)


def _encode_elements(spec: TensorSpec, items: Iterable[object]) -> bytes:
    pieces: list[bytes] = []
    for item in items:
        if isinstance(item, str):
            try:
                content = item.encode("utf-8")
            except UnicodeEncodeError:
                raise InvalidRequest(f"A text in input '{spec.name}' is not Unicode.") from None
        elif isinstance(item, bytes | bytearray | memoryview):
            content = bytes(item)
        else:
            raise InvalidRequest(f"Input '{spec.name}' is BYTES: its elements must be bytes or text.")
        pieces += (_PREFIX.pack(len(content)), content)
    return b"".join(pieces)


def _encode_bf16(spec: TensorSpec, array: numpy.ndarray[Any, Any]) -> bytes:
    """Rounded to the nearest, ties to even, as torch does; NaN stays NaN."""
    if array.dtype.name == "bfloat16":
        return array.view("<u2").tobytes()
    wide = numpy.ascontiguousarray(_converted(spec, array, "<f4"))
    bits = wide.view("<u4")
    rounded = (bits.astype("<u8") + _BF16_HALF + ((bits >> _BF16_BITS) & 1)) >> _BF16_BITS
    rounded = numpy.where(numpy.isnan(wide), (bits >> _BF16_BITS) | 0x40, rounded)
    narrow: bytes = rounded.astype("<u2").tobytes()
    return narrow


def _converted(spec: TensorSpec, array: numpy.ndarray[Any, Any], wanted: str) -> numpy.ndarray[Any, Any]:
    """The array in the datatype of the signature.

    Raises:
        InvalidRequest: that would change what kind of thing its numbers are, or one of them does not fit.
    """
    target = numpy.dtype(wanted)
    if array.dtype == target:
        return array
    takes = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[target.kind]
    is_empty = array.size == 0 and array.dtype == numpy.float64  # what numpy makes of an empty list
    if array.dtype.kind not in takes and not is_empty:
        raise InvalidRequest(f"Input '{spec.name}' is {spec.datatype}; {array.dtype.name} is not taken for it.")
    if target.kind in "iu" and array.size:
        bounds = numpy.iinfo(target)
        if int(array.min()) < bounds.min or int(array.max()) > bounds.max:
            raise InvalidRequest(f"A number in input '{spec.name}' does not fit {spec.datatype}.")
    with numpy.errstate(over="ignore"):
        converted = array.astype(target)
    if target.kind == "f" and not (numpy.isfinite(converted) | ~numpy.isfinite(array)).all():
        raise InvalidRequest(f"A number in input '{spec.name}' does not fit {spec.datatype}.")
    return converted


def _decode(tensor: PlacedTensor, payload: memoryview) -> numpy.ndarray[Any, Any]:
    data = payload[tensor.offset : tensor.offset + tensor.length]
    if tensor.datatype == "BYTES":
        items = [bytes(element) for element in elements(data)]
        array = numpy.empty(len(items), object)
        array[:] = items
        return array.reshape(tensor.shape)
    if tensor.datatype == "BF16":
        bits = numpy.frombuffer(data, "<u2").astype("<u4") << _BF16_BITS
        return bits.view("<f4").reshape(tensor.shape)
    return numpy.frombuffer(data, _TYPES[tensor.datatype]).reshape(tensor.shape).copy()
