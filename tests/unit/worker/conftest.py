import struct
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch

from torchgate.contract.model import Batch
from torchgate.contract.principal import RowPrincipal
from torchgate.contract.tensors import PlacedTensor, Signature, TensorSpec
from torchgate.contract.worker_wire import Run, RunDone, RunItem, Space
from torchgate.worker.collate import Collator
from torchgate.worker.runner import Runner
from torchgate.worker.tensor_bytes import raw_view

SECTION_BYTES = 1 << 20
OUTPUTS_AT = 1 << 19


class Bench:
    """A section, and requests written into it as the engine writes them."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(SECTION_BYTES))
        self._next = 0

    def place(self, name: str, datatype: str, shape: Sequence[int], data: bytes, *, skew: int = 0) -> PlacedTensor:
        offset = self._next + skew
        self.memory[offset : offset + len(data)] = data
        self._next = (offset + len(data) + 63) // 64 * 64
        return PlacedTensor(name, datatype, tuple(shape), offset, len(data))

    def tensor(self, name: str, datatype: str, value: torch.Tensor, *, skew: int = 0) -> PlacedTensor:
        return self.place(name, datatype, value.shape, bytes(raw_view(value)), skew=skew)

    def item(self, *inputs: PlacedTensor, rows: int = 1, who: str = "ann", wanted=None, parameters=None) -> RunItem:
        return RunItem(tuple(inputs), rows, RowPrincipal(who, who, ()), wanted, parameters or {})

    def read(self, placed: PlacedTensor) -> torch.Tensor:
        from torchgate.worker.tensor_bytes import read_tensor

        return read_tensor(self.memory, placed)

    def texts(self, placed: PlacedTensor) -> list[bytes]:
        data, found, position = bytes(self.memory[placed.offset : placed.offset + placed.length]), [], 0
        while position < len(data):
            (length,) = struct.unpack_from("<I", data, position)
            found.append(data[position + 4 : position + 4 + length])
            position += 4 + length
        return found

    def run(
        self,
        predict: Callable[[Batch], Mapping],
        outputs: Sequence[TensorSpec],
        *items: RunItem,
        takes_batches: bool = True,
        idempotent: bool = True,
        space_bytes: int = SECTION_BYTES - OUTPUTS_AT,
        give: Callable[[int, int], Space] | None = None,
        space_at: int = OUTPUTS_AT,
    ) -> RunDone:
        runner = Runner(
            "Model 'm' version '1'",
            Signature((), tuple(outputs)),
            takes_batches=takes_batches,
            idempotent=idempotent,
            predict=predict,
            collator=Collator(self.memory, torch.device("cpu")),
            memory=self.memory,
        )
        return runner.run(Run(7, items, space_at, space_bytes, 99.0), give or unasked)


def unasked(batch_id: int, length: int) -> Space:
    raise AssertionError(f"{length} bytes were asked for and there was room")


@pytest.fixture
def bench() -> Bench:
    return Bench()
