"""A second process at a pipe's other end, and receivers that remember what they were told."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torchgate
from torchgate.contract.local_pipes import PeerChannel

PROGRAM = Path(__file__).parents[1] / "integration" / "os_services" / "programs" / "pipe_peer.py"
PACKAGE_FOLDER = Path(torchgate.__file__).parent.parent
WAIT_S = 120


class Heard:
    """A ChannelReceiver; on_data is called after the bytes were remembered."""

    def __init__(self, on_data: Callable[["Heard"], None] = lambda heard: None) -> None:
        self.channel: PeerChannel = None  # type: ignore[assignment]
        self.received = bytearray()
        self.times_closed = 0
        self._on_data = on_data
        self._changed = asyncio.Event()

    def introduced(self, channel: PeerChannel) -> "Heard":
        self.channel = channel
        return self

    def data_received(self, data: bytes) -> None:
        assert self.times_closed == 0
        self.received += data
        self._on_data(self)
        self._changed.set()

    def channel_closed(self) -> None:
        self.times_closed += 1
        self._changed.set()

    async def wait_until(self, condition: Callable[["Heard"], bool], timeout_s: float = WAIT_S) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    async def wait_closed(self) -> None:
        await self.wait_until(lambda heard: heard.times_closed > 0)


class PipeProcess:
    """`pipe_peer.py`, running; as_uid: on Linux, by root."""

    def __init__(self, folder: Path, *arguments: str, as_uid: int | None = None) -> None:
        who = "-" if as_uid is None else str(as_uid)
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), who, str(folder), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER), "PYTHONUTF8": "1"},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    async def line(self) -> str:
        async with asyncio.timeout(WAIT_S):
            return (await asyncio.to_thread(self._process.stdout.readline)).decode().strip()

    async def lines(self, number: int) -> list[str]:
        return [await self.line() for _ in range(number)]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> "PipeProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        self._process.stdin.close()
        self._process.stdout.close()
