"""Starts a child, says its pid, and waits to be killed."""

import asyncio
import os
import sys
from pathlib import Path

from torchgate.contract.os_services import ChildSpec

if sys.platform == "win32":
    from torchgate.windows.children import WindowsChildren as Children
else:
    from torchgate.posix.children import PosixChildren as Children


class Deaf:
    def data_received(self, data):
        print("child", data.decode().strip(), flush=True)

    def channel_closed(self):
        pass


async def main():
    import torchgate

    folders = (Path(__file__).parent, Path(torchgate.__file__).parent.parent)
    spec = ChildSpec("child", "channel_child", ("breed",), dict(os.environ), Path.cwd())
    child = await Children(module_folders=folders).start(spec, Deaf(), lambda data: None)
    print("started", child.pid, flush=True)
    await child.wait()


asyncio.run(main())
