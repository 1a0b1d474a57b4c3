"""A server of one child in a control group, which says what there is and waits to be killed.

    grouped_parent.py <engine.control_group> <what the child does>

It says its folder, its guard's pid, the child's pid and what the child says.
"""

import asyncio
import os
import sys
from pathlib import Path

from torchgate.contract.os_services import ChildSpec
from torchgate.posix.children import PosixChildren
from torchgate.posix.control_groups import ControlGroups
from torchgate.posix.group_place import find_place


class Receiver:
    def data_received(self, data):
        print("said", data.decode().strip(), flush=True)

    def channel_closed(self):
        pass


async def main():
    import torchgate

    groups = ControlGroups(find_place(sys.argv[1]))
    print("folder", groups.folder, flush=True)
    print("guard", groups._guard.pid, flush=True)
    folders = (Path(__file__).parent, Path(torchgate.__file__).parent.parent)
    children = PosixChildren(module_folders=folders, groups=groups)
    spec = ChildSpec("child", "channel_child", (sys.argv[2],), dict(os.environ), Path.cwd())
    child = await children.start(spec, Receiver(), lambda data: None)
    print("child", child.pid, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    child.kill()
    await child.wait()
    children.close()


asyncio.run(main())
