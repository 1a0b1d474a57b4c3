"""Tensors as bytes: the binary tensor data extension."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from torchgate.contract.errors import InvalidRequest
from torchgate.contract.inference import ModelDescription
from torchgate.contract.tensors import ITEM_BYTES, TensorSpec

MAX_BYTES_ELEMENTS = 1 << 20
"""Elements of one BYTES tensor: each is looked at in Python, a million in about 0.1 s."""

_LENGTH = re.compile(rb"[0-9]{1,10}")
_PREFIX = struct.Struct("<I")


def json_length(header: bytes | None) -> int | None:
    """Bytes of the JSON part as Inference-Header-Content-Length tells, 0 for a raw request, None: all is JSON.

    Raises:
        InvalidRequest: it is not a number.
    """
    if header is None:
        return None
    if not _LENGTH.fullmatch(header):
        raise InvalidRequest("Inference-Header-Content-Length must be a number: the bytes of the body's JSON part.")
    return int(header)


def elements(data: bytes | memoryview) -> Iterator[memoryview]:
    """The elements of a BYTES tensor.

    Raises:
        ValueError: the lengths before the elements do not add up.
    """
    view = memoryview(data)
    position = 0
    while position < len(view):
        if position + 4 > len(view):
            raise ValueError("a length is cut off")
        (length,) = _PREFIX.unpack_from(view, position)
        position += 4
        if position + length > len(view):
            raise ValueError("an element is cut off")
        yield view[position : position + length]
        position += length


def examine_bytes_tensor(name: str, data: memoryview, count: int) -> None:
    """The elements of a BYTES input are as many as its shape says, and end where it ends.

    Raises:
        InvalidRequest: they are not.
    """
    seen = 0
    try:
        for _ in elements(data):
            seen += 1
            if seen > count:
                break
    except ValueError as error:
        raise InvalidRequest(f"The BYTES data of input '{name}' are damaged: {error}.") from None
    if seen != count:
        raise InvalidRequest(f"The BYTES data of input '{name}' do not hold the {count} elements of its shape.")


def raw_shape(description: ModelDescription, length: int) -> tuple[TensorSpec, tuple[int, ...], bool]:
    """Input, shape and whether the length prefix is ours to add, of a raw request: the body is the only input.

    Raises:
        InvalidRequest: the model has more than one input, or its shape does not follow from the body's length.
    """
    inputs = description.signature.inputs
    if len(inputs) != 1:
        raise InvalidRequest(f"A raw request needs a model with one input; this one has {len(inputs)}. Send JSON.")
    spec = inputs[0]
    batch = (1,) if description.max_batch_size else ()
    if spec.datatype == "BYTES":
        shape = batch + tuple(1 if dimension == -1 else dimension for dimension in spec.shape)
        if any(dimension != 1 for dimension in shape):
            raise InvalidRequest("A raw request carries one BYTES element; this model's input holds more. Send JSON.")
        return spec, shape, True
    known = ITEM_BYTES[spec.datatype]
    for dimension in spec.shape:
        known *= 1 if dimension == -1 else dimension
    free = spec.shape.count(-1)
    if free > 1 or (free and (known == 0 or length % known)) or (not free and length != known):
        raise InvalidRequest(
            f"A raw request of {length} bytes does not fit input '{spec.name}' "
            f"({spec.datatype}, shape {list(spec.shape)}). Send JSON with a shape."
        )
    return spec, batch + tuple(length // known if dimension == -1 else dimension for dimension in spec.shape), False
