"""Tensors as JSON: `data`, flat or nested row-major, to bytes."""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, cast

import msgspec
import numpy

from torchgate.contract.errors import InvalidRequest
from torchgate.contract.tensors import ITEM_BYTES

MAX_EMPTY_BRACKETS = 4096
"""Commas in the data of a tensor without elements: `[[],[],…]` costs twenty times its text in memory."""

NUMPY_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
        "INT32": "<i4", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8",
    }
)  # fmt: skip
"""Datatypes that JSON can carry, in numpy's spelling; the wire is little-endian."""

_STRUCT_CODES = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h",
    "INT32": "i", "INT64": "q", "FP32": "f", "FP64": "d",
}  # fmt: skip

_PREFIX = struct.Struct("<I")


class JsonTensor:
    """The values of one input, decoded; their bytes are written where the tensor lies.

    Args:
        values: flat or nested lists, or for BYTES the encoded elements.
        length: of the tensor in bytes.
    """

    __slots__ = ("_datatype", "_name", "_shape", "_values", "length")

    def __init__(
        self, name: str, datatype: str, shape: tuple[int, ...], values: list[Any] | bytes, length: int
    ) -> None:
        self._name = name
        self._datatype = datatype
        self._shape = shape
        self._values = values
        self.length = length

    def write(self, view: memoryview) -> None:
        """Put the bytes into the view, which is exactly as long.

        Raises:
            InvalidRequest: a number does not fit the datatype, or the nesting does not fit the shape.
        """
        values = self._values
        if isinstance(values, bytes):
            view[:] = values
        elif values and not isinstance(values[0], list):
            self._write_flat(view, values)
        elif self.length:
            self._write_nested(view, values)

    def _write_flat(self, view: memoryview, values: list[Any]) -> None:
        try:
            struct.pack_into(f"<{len(values)}{_STRUCT_CODES[self._datatype]}", view, 0, *values)
        except (struct.error, OverflowError):
            raise self._out_of_range() from None

    def _write_nested(self, view: memoryview, values: list[Any]) -> None:
        target = numpy.frombuffer(view, NUMPY_TYPES[self._datatype]).reshape(self._shape)
        try:
            with numpy.errstate(over="raise"):
                # Never broadcasts: there are as many values as elements, and as many dimensions.
                target[...] = values
        except (FloatingPointError, OverflowError):
            raise self._out_of_range() from None
        except ValueError:
            raise InvalidRequest(
                f"The data of input '{self._name}' are not nested as its shape {list(self._shape)} says. "
                "Nest them row by row, or send one flat list."
            ) from None

    def _out_of_range(self) -> InvalidRequest:
        return InvalidRequest(f"A number in the data of input '{self._name}' does not fit {self._datatype}.")


def decode_data(name: str, datatype: str, shape: tuple[int, ...], count: int, data: msgspec.Raw) -> JsonTensor:
    """The values of one input.

    Args:
        shape: concrete and checked; count: its product.

    Raises:
        InvalidRequest: the data do not fit datatype and shape.
    """
    text = bytes(data)
    depth = _depth(text)
    if depth != 1 and depth != len(shape):
        raise InvalidRequest(
            f"The data of input '{name}' are nested {depth} deep; with shape {list(shape)} "
            "they must be one flat list or nested as the shape is."
        )
    _examine_count(name, datatype, shape, count, text)
    try:
        values = _decoder(datatype, depth).decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The data of input '{name}' are not {datatype}: {error}.") from None
    if datatype != "BYTES":
        return JsonTensor(name, datatype, shape, values, count * ITEM_BYTES[datatype])
    encoded = _encode_strings(_flattened(name, values, shape if depth == len(shape) else (count,)))
    return JsonTensor(name, datatype, shape, encoded, len(encoded))


def _depth(text: bytes) -> int:
    """How many brackets open before the first value."""
    depth = 0
    for character in text:
        if character == 0x5B:
            depth += 1
        elif character not in b" \t\r\n":
            break
    return depth


def _examine_count(name: str, datatype: str, shape: tuple[int, ...], count: int, text: bytes) -> None:
    """As many values as elements: each comma of a rectangular array stands between two of them.

    Counted before anything is built, so that a wrong length costs nothing. BYTES may hold commas: counted after.
    """
    commas = text.count(b",")
    if datatype != "BYTES" and count and commas != count - 1:
        raise InvalidRequest(
            f"The data of input '{name}' have {commas + 1} values; its shape {list(shape)} needs {count}."
        )
    if not count and (commas > MAX_EMPTY_BRACKETS or text.translate(None, b"[], \t\r\n")):
        raise InvalidRequest(f"The shape {list(shape)} of input '{name}' holds no values; its data do.")


@functools.cache
def _decoder(datatype: str, depth: int) -> msgspec.json.Decoder[Any]:
    """The typed decoder of one datatype and nesting; there are at most as many as datatypes times MAX_RANK."""
    shape: Any = _element_type(datatype)
    for _ in range(depth):
        shape = list[shape]
    return msgspec.json.Decoder(shape)


def _element_type(datatype: str) -> Any:
    if datatype == "BOOL":
        return bool
    if datatype in ("FP32", "FP64"):
        return float
    if datatype == "BYTES":
        return str
    bits = ITEM_BYTES[datatype] * 8
    if datatype.startswith("U"):
        return Annotated[int, msgspec.Meta(ge=0, le=2**bits - 1 if bits < 64 else None)]
    return Annotated[int, msgspec.Meta(ge=-(2 ** (bits - 1)), le=2 ** (bits - 1) - 1)]


def _flattened(name: str, values: list[Any], shape: tuple[int, ...]) -> list[str]:
    """Strings in row-major order, after their nesting was compared with the shape."""
    level: list[Any] = [values]
    for dimension in shape:
        if any(len(inner) != dimension for inner in level):
            raise InvalidRequest(
                f"The data of input '{name}' do not have the {list(shape)} values that its shape says."
            )
        level = [item for inner in level for item in inner]
    return cast("list[str]", level)


def _encode_strings(strings: list[str]) -> bytes:
    pieces: list[bytes] = []
    for string in strings:
        element = string.encode("utf-8")
        pieces += (_PREFIX.pack(len(element)), element)
    return b"".join(pieces)
