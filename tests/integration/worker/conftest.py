"""A real worker process with real torch, spoken to as the engine does."""

import asyncio
import os
import sys
import textwrap
from pathlib import Path

import pytest

import torchgate
from torchgate.contract.os_services import ChildSpec
from torchgate.contract.worker_seal import Sealer, new_channel_key
from torchgate.contract.worker_wire import Frames, Hello, Load, Warming, decode_from_worker, encode

if sys.platform == "win32":
    from torchgate.windows.children import WindowsChildren as Children
    from torchgate.windows.section import WindowsSections as Sections
else:
    from torchgate.posix.children import PosixChildren as Children
    from torchgate.posix.section import PosixSections as Sections

SECTION_BYTES = 1 << 16
KEPT = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "HOME", "USERPROFILE", "KMP_AFFINITY")


class Worker:
    """Messages in and out, and what it printed."""

    def __init__(self) -> None:
        self.section = Sections().create(SECTION_BYTES)
        self.printed = bytearray()
        self._frames = Frames()
        self._sealer = Sealer(b"")
        self._messages: asyncio.Queue = asyncio.Queue()

    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            self._messages.put_nowait(decode_from_worker(frame))

    def channel_closed(self) -> None:
        self._messages.put_nowait(None)

    async def start(self) -> Hello:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        spec = ChildSpec("worker", "torchgate.worker_app", (), environment, Path.cwd())
        children = Children(module_folders=(Path(torchgate.__file__).parent.parent,))
        self.child = await children.start(spec, self, self.printed.extend)
        return await self.next()

    async def next(self):
        return await asyncio.wait_for(self._messages.get(), 300)

    async def ask(self, message):
        self.child.write(encode(message))
        return await self.next()

    async def order(self, order):
        return await self.ask(self._sealer.seal(order))

    async def load(self, folder: Path, source: str, signature, **changes):
        (folder / "model.py").write_text(textwrap.dedent(source), encoding="utf-8")
        fields = {
            "model": "m", "version": "1", "format": "class", "folder": str(folder), "entry": "model.py:M",
            "signature": signature, "max_batch_size": 4, "device": "cpu", "parameters": {}, "warm_up": 1,
            "section_token": self.child.hand_over(self.section), "section_length": SECTION_BYTES, "idempotent": True,
        }  # fmt: skip
        key = new_channel_key()
        self._sealer = Sealer(key)
        answer = await self.ask(Load(**(fields | {"channel_key": key} | changes)))
        return await self.next() if isinstance(answer, Warming) else answer

    async def end(self) -> int:
        self.child.kill()
        code = await self.child.wait()
        self.section.close()
        return code


@pytest.fixture
async def worker():
    worker = Worker()
    yield worker
    await worker.end()
