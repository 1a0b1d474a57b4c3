"""What a model returned, checked against its signature, and cut into the rows of each request.

The rule for datatypes: an output of another datatype is converted only where every value survives exactly
(FP32 to FP64, INT8 to INT32, UINT8 to INT16 …). Anything else is the model's mistake and is said as such: a
server that rounds FP64 to FP32 or truncates INT64 in silence answers something that the author never computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import torch

from torchgate.contract.model import Array
from torchgate.contract.tensors import TensorSpec
from torchgate.worker.tensor_bytes import DATATYPE_NAMES, TORCH_TYPES, raw_view, write_bytes

_WIDER: Mapping[str, frozenset[str]] = {
    "UINT8": frozenset({"UINT16", "UINT32", "UINT64", "INT16", "INT32", "INT64"}),
    "UINT16": frozenset({"UINT32", "UINT64", "INT32", "INT64"}),
    "UINT32": frozenset({"UINT64", "INT64"}),
    "INT8": frozenset({"INT16", "INT32", "INT64"}),
    "INT16": frozenset({"INT32", "INT64"}),
    "INT32": frozenset({"INT64"}),
    "FP16": frozenset({"FP32", "FP64"}),
    "BF16": frozenset({"FP32", "FP64"}),
    "FP32": frozenset({"FP64"}),
}
"""Given datatype → declared ones that hold each of its values exactly."""


class WrongAnswer(Exception):
    """The model answered against its signature; the text is for the operator."""


class Rows(msgspec.Struct):
    """One output of the whole batch.

    Args:
        spec: of the signature.
        shape: concrete, batch dimension first where there is one.
        data: numeric: all bytes; BYTES: None.
        elements: BYTES: flat elements; numeric: empty.
        unfinite: rows with NaN or infinity, where the signature forbids them; of a whole answer row 0 stands for all.
    """

    spec: TensorSpec
    shape: tuple[int, ...]
    data: memoryview | None
    elements: Sequence[object] = ()
    unfinite: Sequence[int] = ()

    def cut(self, first: int, count: int) -> tuple[tuple[int, ...], memoryview | bytes]:
        """Shape and bytes of some rows."""
        shape = (count, *self.shape[1:])
        per_row = math.prod(shape[1:])
        if self.data is None:
            return shape, write_bytes(self.elements[first * per_row : (first + count) * per_row])
        row_bytes = len(self.data) // self.shape[0] if self.shape[0] else 0
        return shape, self.data[first * row_bytes : (first + count) * row_bytes]

    def whole(self) -> tuple[tuple[int, ...], memoryview | bytes]:
        """Shape and bytes of all of it."""
        return self.shape, write_bytes(self.elements) if self.data is None else self.data


def check_answer(answer: object, specs: Sequence[TensorSpec], rows: int | None) -> dict[str, Rows]:
    """Every output that the signature declares, by name.

    Args:
        answer: what `predict` returned.
        rows: of the batch; None for a model that takes no batches.

    Raises:
        WrongAnswer: one is missing, or of a wrong kind, datatype or shape.
    """
    if not isinstance(answer, Mapping):
        raise WrongAnswer(f"predict returned a {type(answer).__name__}; it must be a mapping of output name to array")
    checked: dict[str, Rows] = {}
    for spec in specs:
        if spec.name not in answer:
            given = ", ".join(f"'{name}'" for name in answer) or "nothing"
            raise WrongAnswer(f"output '{spec.name}' is missing; predict returned {given}")
        value = answer[spec.name]
        checked[spec.name] = _bytes_rows(spec, value, rows) if spec.datatype == "BYTES" else _rows(spec, value, rows)
    return checked


def _rows(spec: TensorSpec, value: Array, rows: int | None) -> Rows:
    tensor = _tensor(spec, value)
    given = DATATYPE_NAMES.get(tensor.dtype)
    if given != spec.datatype:
        if given is None or spec.datatype not in _WIDER.get(given, ()):
            raise WrongAnswer(
                f"output '{spec.name}' is {given or tensor.dtype}, declared {spec.datatype}; convert it in predict, "
                "or declare it so in model.toml"
            )
        tensor = tensor.to(TORCH_TYPES[spec.datatype])
    shape = tuple(tensor.shape)
    _check_shape(spec, shape, rows)
    return Rows(spec, shape, raw_view(tensor), unfinite=_unfinite(tensor, rows) if spec.finite else ())


def _unfinite(tensor: torch.Tensor, rows: int | None) -> Sequence[int]:
    """Rows with NaN or infinity in them; nearly always there are none, and one pass over all says so."""
    finite = torch.isfinite(tensor)
    if bool(finite.all()):
        return ()
    if rows is None:
        return (0,)
    found: list[int] = (~finite.reshape(rows, -1).all(1)).nonzero().flatten().tolist()
    return found


def _tensor(spec: TensorSpec, value: Array) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        if value.requires_grad:
            value = value.detach()
        if value.device.type != "cpu":
            value = value.cpu()
        tensor: torch.Tensor = value.resolve_neg() if value.is_neg() else value
        return tensor
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        array = np.ascontiguousarray(value).reshape(value.shape)
        array = array.astype(array.dtype.newbyteorder("="), copy=not array.flags.writeable)
        return torch.from_numpy(array)
    raise WrongAnswer(f"output '{spec.name}' is a {type(value).__name__}; it must be a torch tensor or a numpy array")


def _bytes_rows(spec: TensorSpec, value: Array, rows: int | None) -> Rows:
    if isinstance(value, str | bytes | torch.Tensor) or not isinstance(value, Sequence | np.ndarray):
        raise WrongAnswer(f"output '{spec.name}' is a {type(value).__name__}; BYTES wants a sequence of bytes or str")
    array = value if isinstance(value, np.ndarray) else _object_array(value)
    elements = array.reshape(-1).tolist()
    wrong = next((one for one in elements if not isinstance(one, bytes | str)), None)
    if wrong is not None:
        raise WrongAnswer(f"output '{spec.name}' holds a {type(wrong).__name__}; BYTES wants bytes or str")
    shape = tuple(array.shape)
    declared = spec.shape if rows is None else (rows, *spec.shape)
    if len(shape) == 1 and -1 not in declared and math.prod(declared) == shape[0]:
        shape = declared  # a plain list of texts, one or more a row
    _check_shape(spec, shape, rows)
    return Rows(spec, shape, None, elements)


def _object_array(value: Sequence[object]) -> np.ndarray[tuple[int, ...], np.dtype[np.object_]]:
    """As numpy would nest it, but texts stay what they are."""
    try:
        return np.array(value, dtype=object)
    except ValueError:
        raise WrongAnswer("a BYTES output has rows of unequal length") from None


def _check_shape(spec: TensorSpec, shape: tuple[int, ...], rows: int | None) -> None:
    fits = spec.admits(shape) if rows is None else shape[:1] == (rows,) and spec.admits(shape[1:])
    if not fits:
        declared = list(spec.shape) if rows is None else [rows, *spec.shape]
        raise WrongAnswer(f"output '{spec.name}' has shape {list(shape)}, declared {declared} (-1: any)")
