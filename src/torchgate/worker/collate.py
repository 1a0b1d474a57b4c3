"""Requests to one batch: the inputs that the model sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from torchgate.contract.model import Array, Batch, LendsRights
from torchgate.contract.worker_wire import RunItem
from torchgate.worker.tensor_bytes import read_bytes, read_tensor


class Collator:
    """Makes batches of requests whose bytes lie in one section.

    A batch of one request is given the section's memory itself. A model that writes into its inputs would spoil
    what a second run after a crash reads, so that `copies` is set once one was seen to do it, in warm-up mostly.

    Args:
        memory: the section.
        device: where the inputs go.
    """

    def __init__(self, memory: memoryview, device: torch.device) -> None:
        self._memory = memory
        self._device = device
        self.copies = False

    def collate(self, items: Sequence[RunItem], deadline_at: float, rights: LendsRights | None = None) -> Batch:
        """One batch of all rows, in the order of the items.

        Args:
            rights: of the one caller of all of them, where the model has them.

        Raises:
            ValueError: the bytes of an input are not what its shape says.
        """
        first = items[0]
        if len(items) == 1:
            rows = first.rows
            principals: tuple[object, ...] = (first.principal,) * rows
            parameters = (first.parameters,) * rows
        else:
            rows = sum(item.rows for item in items)
            principals = tuple(item.principal for item in items for _ in range(item.rows))
            parameters = tuple(item.parameters for item in items for _ in range(item.rows))
        inputs = {placed.name: self._input(items, index) for index, placed in enumerate(first.inputs)}
        return Batch(inputs, rows, principals, parameters, deadline_at, rights)  # type: ignore[arg-type]

    def note_writes(self, inputs: Mapping[str, Array]) -> None:
        """Look whether the model wrote into its inputs, by torch's version counter, and remember it."""
        if not self.copies and self._device.type == "cpu":
            for one in inputs.values():
                if isinstance(one, torch.Tensor) and one._version:
                    self.copies = True

    def _input(self, items: Sequence[RunItem], index: int) -> Array:
        if items[0].inputs[index].datatype == "BYTES":
            parts = [read_bytes(self._memory, item.inputs[index]) for item in items]
            return parts[0] if len(parts) == 1 else np.concatenate(parts)
        tensors = [read_tensor(self._memory, item.inputs[index]) for item in items]
        joined = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        if self.copies and len(tensors) == 1:
            joined = joined.clone()
        return joined if self._device.type == "cpu" else joined.to(self._device)
