"""A process at one end of a pipe, which does what its arguments say and prints what it saw, one line each.

    pipe_peer.py <uid or -> <folder> <what> [<argument>…]

With a uid it becomes that account once its modules are read, which need not be readable by that one.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 - asyncio would read it later, when it may not any more
import os
import socket
import sys
import time
from pathlib import Path

from torchgate.contract.local_pipes import PipeAddress

if sys.platform == "win32":
    from torchgate.windows.local_pipes import WindowsLocalPipes as LocalPipes
    from torchgate.windows.section import WindowsSections as Sections
else:
    from torchgate.posix.local_pipes import PosixLocalPipes as LocalPipes
    from torchgate.posix.section import PosixSections as Sections

if sys.argv[1] != "-":
    os.setgroups([])
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))

ADDRESS = PipeAddress(Path(sys.argv[2]), "pool")


def say(*words):
    print(*words, flush=True)


class Receiver:
    def __init__(self, on_data=lambda channel, data: None):
        self.channel = None
        self.on_data = on_data
        self.closed = asyncio.Event()

    def introduced(self, channel):
        self.channel = channel
        say("peer", channel.peer.account, channel.peer.pid)
        return self

    def data_received(self, data):
        self.on_data(self.channel, data)

    def channel_closed(self):
        say("closed")
        self.closed.set()


async def listen(on_data):
    pipes = LocalPipes()
    allowed = sys.argv[4].split(",")
    try:
        listening = await pipes.listen(
            ADDRESS, allowed=allowed, on_connect=lambda channel: Receiver(on_data).introduced(channel)
        )
    except OSError as error:
        say(type(error).__name__, error)
        return
    say("listening")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    listening.close()


async def echo():
    await listen(lambda channel, data: channel.write(data))


async def lend():
    """Hands a section of 64 KiB over for each byte received; says its token; fills it with that byte."""
    pipes, sections, lent = LocalPipes(), Sections(), []

    def on_data(channel, data):
        for byte in data:
            section = sections.create(65_536, shared_with=[channel.peer.account, pipes.own_account])
            section.view[:] = bytes([byte]) * 65_536
            lent.append(section)
            channel.write(f"{channel.hand_over(section)}\n".encode())

    await listen(on_data)


async def connect():
    """Connects, says how it went, and stays until the channel closes."""
    receiver = Receiver(lambda channel, data: say("data", data.decode()))
    try:
        receiver.introduced(await LocalPipes().connect(ADDRESS, receiver, owner=sys.argv[4]))
    except OSError as error:
        say(type(error).__name__, error)
        return
    await receiver.closed.wait()


async def flood():
    """Writes 64 MiB and stays."""
    receiver = Receiver()
    receiver.introduced(await LocalPipes().connect(ADDRESS, receiver, owner=sys.argv[4]))
    receiver.channel.write(bytes(64 << 20))
    await receiver.closed.wait()


async def sleep():
    """Connects, and never reads again."""
    receiver = Receiver()
    receiver.introduced(await LocalPipes().connect(ADDRESS, receiver, owner=sys.argv[4]))
    time.sleep(900)  # noqa: ASYNC251 - a loop that hangs is what is wanted


async def trap():
    """Listens with a bare socket that everybody may open; says how many bytes the first who came sent."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(ADDRESS.folder / "pool.sock"))
    (ADDRESS.folder / "pool.sock").chmod(0o666)
    listening.listen()
    say("listening")
    connected, _ = listening.accept()
    received = 0
    while data := connected.recv(100):
        received += len(data)
    say("received", received, "bytes")


asyncio.run(globals()[sys.argv[3]]())
