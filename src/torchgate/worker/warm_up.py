"""Runs on made-up input before a model is ready: the first run pays for caches, and a wrong signature shows here."""

from __future__ import annotations

import numpy as np
import torch

from torchgate.contract.clock import monotonic_s
from torchgate.contract.model import Array, Batch
from torchgate.contract.principal import RowPrincipal
from torchgate.contract.tensors import TensorSpec
from torchgate.contract.worker_wire import Load
from torchgate.worker.answer import check_answer
from torchgate.worker.collate import Collator
from torchgate.worker.runner import Predict
from torchgate.worker.tensor_bytes import TORCH_TYPES

OPEN_DIMENSION = 64
"""Length that stands for -1: long enough for networks that halve an image five times, short enough to be quick."""

_PRINCIPAL = RowPrincipal("warm-up", "warm-up", ())


def warm_up(load: Load, predict: Predict, device: torch.device, collator: Collator) -> None:
    """Run `load.warm_up` times on the largest batch and on a single row, and check the answers.

    Raises:
        Exception: whatever the model raises. WrongAnswer: it answers against its signature.
    """
    sizes = (None,) if load.max_batch_size == 0 else tuple(dict.fromkeys((load.max_batch_size, 1)))
    for _ in range(load.warm_up):
        for rows in sizes:
            batch = _made_up(load.signature.inputs, rows, device)
            with torch.inference_mode():
                answer = predict(batch)
            collator.note_writes(batch.inputs)
            check_answer(answer, load.signature.outputs, rows)


def _made_up(specs: tuple[TensorSpec, ...], rows: int | None, device: torch.device) -> Batch:
    count = rows or 1
    inputs = {spec.name: _zeros(spec, rows, device) for spec in specs}
    return Batch(inputs, count, (_PRINCIPAL,) * count, ({},) * count, monotonic_s() + 3600.0)


def _zeros(spec: TensorSpec, rows: int | None, device: torch.device) -> Array:
    shape = tuple(OPEN_DIMENSION if length == -1 else length for length in spec.shape)
    if rows is not None:
        shape = (rows, *shape)
    if spec.datatype == "BYTES":
        return np.full(shape, b"warm up", dtype=object)
    return torch.zeros(shape, dtype=TORCH_TYPES[spec.datatype], device=device)
