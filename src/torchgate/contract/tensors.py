"""Tensors as the protocol knows them: datatypes, shapes, and their sizes in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

ITEM_BYTES: Mapping[str, int] = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip
"""Bytes of one element; BYTES is absent because its elements vary (each is a little-endian u32 length, then bytes).

Source: Open Inference Protocol, "Tensor Data Types"; BF16 from Triton's binary tensor data extension.
"""

DATATYPES: frozenset[str] = frozenset(ITEM_BYTES) | {"BYTES"}

FLOATS: frozenset[str] = frozenset({"FP16", "BF16", "FP32", "FP64"})
"""Datatypes that can hold NaN and infinity."""

BINARY_ONLY: frozenset[str] = frozenset({"FP16", "BF16"})
"""Datatypes that JSON can't carry: they travel by the binary tensor data extension alone."""

MAX_ELEMENTS = 2**31 - 1
"""Elements of one tensor at most; far above every body limit, low enough that no product of a shape overflows."""

MAX_RANK = 16
"""Dimensions of one tensor at most: twice what the models we know use."""


class TensorSpec(msgspec.Struct, frozen=True):
    """Name, datatype and shape of one input or output, as model.toml declares it.

    Args:
        name: as on the wire.
        datatype: one of DATATYPES.
        shape: of one row (without the batch dimension) when the model takes batches, else whole; -1 is any length.
        finite: of an output: a row with NaN or infinity in it is no answer.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    finite: bool = False

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether a concrete shape, in the same form (without or with the batch dimension), fits."""
        return len(shape) == len(self.shape) and all(
            want in (-1, have) for want, have in zip(self.shape, shape, strict=True)
        )


class Signature(msgspec.Struct, frozen=True):
    """All inputs and outputs of a model, in the order of model.toml."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class PlacedTensor(msgspec.Struct, frozen=True, array_like=True):
    """A tensor whose bytes lie in a section of memory that sender and receiver share.

    Args:
        name, datatype: as in TensorSpec.
        shape: concrete, with the batch dimension where the model takes batches.
        offset: of its first byte, in bytes; from what, is said where it is used.
        length: in bytes: row-major, little-endian, unpadded; BYTES as length-prefixed elements.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def element_count(shape: Iterable[int]) -> int:
    """The product of a shape.

    Raises:
        ValueError: a dimension is negative, there are too many dimensions, or the product exceeds MAX_ELEMENTS.
    """
    count = 1
    for rank, dimension in enumerate(shape, 1):
        if dimension < 0:
            raise ValueError(f"dimension {dimension} is negative")
        if rank > MAX_RANK:
            raise ValueError(f"more than {MAX_RANK} dimensions")
        count *= dimension
        if count > MAX_ELEMENTS:
            raise ValueError(f"more than {MAX_ELEMENTS} elements")
    return count


def byte_count(datatype: str, shape: Iterable[int]) -> int | None:
    """Bytes of a tensor, or None for BYTES, whose length its shape does not tell.

    Raises:
        ValueError: as element_count.
    """
    count = element_count(shape)
    return None if datatype == "BYTES" else count * ITEM_BYTES[datatype]
