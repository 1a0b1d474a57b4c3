import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import torchgate
from torchgate.contract.os_services import Child, ChildSpec, Section

if sys.platform == "win32":
    from torchgate.windows.children import WindowsChildren as Children
    from torchgate.windows.private_folder import WindowsPrivateFolders as PrivateFolders
    from torchgate.windows.section import WindowsSections as Sections
else:
    from torchgate.posix.children import PosixChildren as Children
    from torchgate.posix.private_folder import PosixPrivateFolders as PrivateFolders
    from torchgate.posix.section import PosixSections as Sections

PROGRAMS = Path(__file__).parent / "programs"
PACKAGE_FOLDER = Path(torchgate.__file__).parent.parent


class Started:
    """A child with everything that it said."""

    def __init__(self) -> None:
        self.child: Child = None  # type: ignore[assignment]
        self.received = bytearray()
        self.printed = bytearray()
        self.times_closed = 0
        self._changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def channel_closed(self) -> None:
        self.times_closed += 1
        self._changed.set()

    def on_output(self, data: bytes) -> None:
        self.printed += data

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float = 120) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def line(self) -> str:
        await self.wait_until(lambda: self.received.endswith(b"\n"))
        return self.received.decode().strip()


async def start(
    *arguments: str,
    folder: Path | None = None,
    programs: Path = PROGRAMS,
    children: Children | None = None,
    **environment: str,
) -> Started:
    started = Started()
    spec = ChildSpec("test child", "channel_child", arguments, {**os.environ, **environment}, folder or Path.cwd())
    children = children or Children(module_folders=(programs, PACKAGE_FOLDER))
    started.child = await children.start(spec, started, started.on_output)
    return started


@pytest.fixture
def start_child():
    return start


@pytest.fixture
def make_section() -> Callable[[int], Section]:
    return Sections().create


@pytest.fixture
def private_folders() -> PrivateFolders:
    return PrivateFolders()
