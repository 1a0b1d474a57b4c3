"""One real worker process with torch; few starts, because each costs seconds."""

import math
import struct

import pytest

from torchgate.contract.principal import RowPrincipal
from torchgate.contract.tensors import PlacedTensor, Signature, TensorSpec
from torchgate.contract.worker_wire import (
    PROTOCOL_VERSION,
    ItemFailed,
    Loaded,
    LoadFailed,
    NeedSpace,
    Run,
    RunDone,
    RunItem,
    Space,
    Stop,
    encode,
)

pytestmark = pytest.mark.torch_start

SIGNATURE = Signature((TensorSpec("x", "FP32", (2,)),), (TensorSpec("y", "FP32", (2,), finite=True),))
MODEL = """
    import torch
    import torchgate
    class M(torchgate.Model):
        def predict(self, batch):
            x = batch.inputs["x"]
            if (x == 13).any():
                raise ValueError("unlucky")
            print("predicted", batch.rows)
            assert torch.get_num_threads() == 1
            return {"y": x * 10}
"""


def item(worker, offset: int, *values: float) -> RunItem:
    data = struct.pack(f"<{len(values)}f", *values)
    worker.section.view[offset : offset + len(data)] = data
    rows = len(values) // 2
    return RunItem(
        (PlacedTensor("x", "FP32", (rows, 2), offset, len(data)),), rows, RowPrincipal("k", "n", ()), None, {}
    )


def floats(worker, output: PlacedTensor) -> list[float]:
    return list(struct.unpack_from(f"<{output.length // 4}f", worker.section.view, output.offset))


async def test_the_life_of_a_worker(worker, tmp_path):
    """Hello, a load that fails, one that succeeds, runs, a row that fails alone, space asked for, and Stop."""
    hello = await worker.start()
    assert hello.protocol == PROTOCOL_VERSION
    assert hello.pid == worker.child.pid
    failed = await worker.load(tmp_path, "x = 1", SIGNATURE)
    assert isinstance(failed, LoadFailed)
    assert "no class 'M'" in failed.reason

    folder = tmp_path / "Modell mit Umlaut ä"
    folder.mkdir()
    assert isinstance(await worker.load(folder, MODEL, SIGNATURE), Loaded)
    assert sorted(path.name for path in folder.iterdir()) == ["model.py"]  # its digest would change otherwise

    items = (
        item(worker, 0, 1, 2),
        item(worker, 64, 3, 4, 5, 6),
        item(worker, 128, 13, 0),
        item(worker, 192, math.inf, 0),
    )
    done = await worker.order(Run(1, items, 4096, 4096, 0.0))
    assert isinstance(done, RunDone)
    assert floats(worker, done.items[0].outputs[0]) == [10, 20]
    assert floats(worker, done.items[1].outputs[0]) == [30, 40, 50, 60]
    assert isinstance(done.items[2], ItemFailed)
    assert "unlucky" not in done.items[2].sentence
    assert isinstance(done.items[3], ItemFailed)
    assert "NaN or infinity" in done.items[3].sentence

    need = await worker.order(Run(2, (item(worker, 0, *range(8)),), 4096, 16, 0.0))
    assert isinstance(need, NeedSpace)
    done = await worker.order(Space(2, 8192, need.length))
    assert floats(worker, done.items[0].outputs[0]) == [10 * value for value in range(8)]

    worker.child.write(encode(Stop()))
    assert await worker.child.wait() == 0
    assert b"predicted 4" in worker.printed


async def test_garbage_ends_the_worker_with_a_clear_line(worker):
    await worker.start()
    worker.child.write((5).to_bytes(4, "little") + b"\xff\x00abc")
    assert await worker.child.wait() == 70
    assert b"worker: the engine sent what is no message" in worker.printed
    assert b"Traceback" not in worker.printed
