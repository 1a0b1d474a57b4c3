"""Whether the tensors that a gate names lie where it says and fit the model: nothing that a gate sends is believed."""

from __future__ import annotations

import math

from torchgate.contract.errors import Unavailable
from torchgate.contract.inference import ModelDescription
from torchgate.contract.tensors import PlacedTensor, byte_count
from torchgate.engine.link.wire import LinkBroken, RunFields

_LONGEST_DEADLINE_S = 86400.0


def examine_run(fields: RunFields, description: ModelDescription, reserved_bytes: int) -> None:
    """Compare a run with the memory that its permit has and with the model's signature.

    Raises:
        LinkBroken: no sound gate sends this.
        Unavailable: it would be right for another signature: the model was changed under the gate.
    """
    if not (math.isfinite(fields.remaining_s) and fields.remaining_s <= _LONGEST_DEADLINE_S):
        raise LinkBroken(f"a deadline in {fields.remaining_s} s")
    if fields.rows < 1 or fields.priority < 0:
        raise LinkBroken(f"{fields.rows} rows of priority {fields.priority}")
    for placed in fields.inputs:
        _examine_bytes(placed, reserved_bytes)
    if not _fits(fields, description):
        ref = description.ref
        raise Unavailable(
            f"Model '{ref.name}' version '{ref.version}' was changed while this request came. Try again.",
            retry_after_s=1.0,
        )


def _examine_bytes(placed: PlacedTensor, reserved_bytes: int) -> None:
    end = placed.offset + placed.length
    if placed.offset < 0 or placed.length < 0 or end > reserved_bytes:
        raise LinkBroken(
            f"an input from byte {placed.offset} to {end}; the permit has {reserved_bytes} bytes of memory"
        )
    try:
        expected = byte_count(placed.datatype, placed.shape)
    except (ValueError, KeyError) as error:
        raise LinkBroken(f"an input of datatype {placed.datatype!r} and shape {placed.shape}: {error}") from None
    if expected is not None and expected != placed.length:
        raise LinkBroken(f"{placed.length} bytes of {placed.datatype} {placed.shape}, which has {expected}")


def _fits(fields: RunFields, description: ModelDescription) -> bool:
    specs = description.signature.inputs
    if len(specs) != len(fields.inputs):
        return False
    takes_batches = description.max_batch_size > 0
    for spec, placed in zip(specs, fields.inputs, strict=True):
        shape = placed.shape
        if takes_batches:
            if not shape or shape[0] != fields.rows:
                return False
            shape = shape[1:]
        if (spec.name, spec.datatype) != (placed.name, placed.datatype) or not spec.admits(shape):
            return False
    return takes_batches or fields.rows == 1
