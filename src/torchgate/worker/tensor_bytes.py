"""Bytes of the protocol to arrays and back."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from torchgate.contract.tensors import ITEM_BYTES, PlacedTensor

TORCH_TYPES: Mapping[str, torch.dtype] = {
    "BOOL": torch.bool, "UINT8": torch.uint8, "UINT16": torch.uint16, "UINT32": torch.uint32, "UINT64": torch.uint64,
    "INT8": torch.int8, "INT16": torch.int16, "INT32": torch.int32, "INT64": torch.int64,
    "FP16": torch.float16, "BF16": torch.bfloat16, "FP32": torch.float32, "FP64": torch.float64,
}  # fmt: skip
"""Every numeric datatype as torch calls it."""

DATATYPE_NAMES: Mapping[torch.dtype, str] = {kind: name for name, kind in TORCH_TYPES.items()}

_LENGTH = struct.Struct("<I")


def read_tensor(memory: memoryview, placed: PlacedTensor) -> torch.Tensor:
    """A tensor over the section's memory itself; a copy only where its bytes are misaligned or BOOL.

    BOOL is read as "not zero": a byte of 2 in a torch.bool is undefined behaviour, and bytes come from callers.
    """
    count = math.prod(placed.shape)
    if count == 0:
        return torch.empty(placed.shape, dtype=TORCH_TYPES[placed.datatype])
    if placed.datatype == "BOOL":
        raw = torch.frombuffer(memory, dtype=torch.uint8, count=count, offset=placed.offset)
        return (raw != 0).reshape(placed.shape)
    kind = TORCH_TYPES[placed.datatype]
    if placed.offset % ITEM_BYTES[placed.datatype]:
        copied = bytearray(memory[placed.offset : placed.offset + placed.length])
        return torch.frombuffer(copied, dtype=kind, count=count).reshape(placed.shape)
    return torch.frombuffer(memory, dtype=kind, count=count, offset=placed.offset).reshape(placed.shape)


def read_bytes(memory: memoryview, placed: PlacedTensor) -> np.ndarray[Any, np.dtype[np.object_]]:
    """The elements of a BYTES tensor, in its shape.

    Raises:
        ValueError: the elements do not fill the tensor's length exactly.
    """
    data = memory[placed.offset : placed.offset + placed.length]
    elements = np.empty(math.prod(placed.shape), dtype=object)
    position = 0
    for index in range(len(elements)):
        if position + _LENGTH.size > len(data):
            raise ValueError(f"BYTES tensor '{placed.name}' ends inside element {index}")
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        elements[index] = bytes(data[position : position + length])
        position += length
    if position != len(data):
        raise ValueError(f"BYTES tensor '{placed.name}': elements of {position} bytes in {len(data)}")
    return elements.reshape(placed.shape)


def write_bytes(elements: Sequence[object]) -> bytes:
    """Elements as a BYTES tensor carries them; text as UTF-8.

    Raises:
        TypeError: an element is neither bytes nor str.
    """
    parts: list[bytes] = []
    for element in elements:
        if isinstance(element, str):
            data = element.encode("utf-8")
        elif isinstance(element, bytes):
            data = element
        else:
            raise TypeError(f"an element is a {type(element).__name__}; only bytes and str can be")
        parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


def raw_view(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor on the CPU, row-major, without a copy where it is contiguous already."""
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.int16)  # numpy has no name for it, and its bytes are what counts
    return np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data
