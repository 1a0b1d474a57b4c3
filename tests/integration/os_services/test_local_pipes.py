"""What gate and pool rely on in the pipe between them: one suite, run against the room that fits this platform."""

import asyncio
import os
import random
import sys

import pytest
from tests.rigs.event_loops import on_each_loop
from tests.rigs.pipe_process import Heard, PipeProcess
from tests.rigs.processes import open_handles

from torchgate.contract.local_pipes import AddressTaken, NobodyListens, PipeAddress

if sys.platform == "win32":
    from torchgate.windows.local_pipes import WindowsLocalPipes as LocalPipes
    from torchgate.windows.section import WindowsSections as Sections
else:
    from torchgate.posix.local_pipes import PosixLocalPipes as LocalPipes
    from torchgate.posix.section import PosixSections as Sections

MIB = 1 << 20
US = LocalPipes().own_account


class Here:
    """A listener in this process; peers are those that it let in."""

    def __init__(self, folder, on_data=lambda heard: None, name="pool") -> None:
        self.address = PipeAddress(folder, name)
        self.peers: list[Heard] = []
        self.arrived = asyncio.Event()
        self._on_data = on_data

    def on_connect(self, channel):
        self.peers.append(Heard(self._on_data).introduced(channel))
        self.arrived.set()
        return self.peers[-1]

    async def __aenter__(self) -> "Here":
        self.listening = await LocalPipes().listen(self.address, allowed=[US], on_connect=self.on_connect)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.listening.close()
        for peer in self.peers:
            peer.channel.close()
        await asyncio.sleep(0.01)

    async def peer(self) -> Heard:
        async with asyncio.timeout(120):
            await self.arrived.wait()
        return self.peers[-1]


async def connect(folder, owner=US) -> Heard:
    heard = Heard()
    return heard.introduced(await LocalPipes().connect(PipeAddress(folder, "pool"), heard, owner=owner))


def echo(heard: Heard) -> None:
    heard.channel.write(bytes(heard.received))
    heard.received.clear()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "Zustand mit Leerzeichen ü"


@on_each_loop
async def test_each_side_knows_the_account_and_the_number_of_the_other(folder):
    with PipeProcess(folder, "echo", US) as process:
        assert await process.line() == "listening"
        heard = await connect(folder)
        account, pid = (await process.line()).split()[1:]
        assert (account, int(pid)) == (US, os.getpid())
        assert heard.channel.peer.account == US
        assert heard.channel.peer.is_own_account
        assert heard.channel.peer.pid == process.pid or sys.prefix != sys.base_prefix
        heard.channel.close()


@on_each_loop
async def test_what_is_written_comes_back_in_order_however_it_is_cut(folder):
    sent = random.Random(1).randbytes(64 * MIB if sys.platform != "win32" else 8 * MIB)
    cuts = random.Random(2)
    with PipeProcess(folder, "echo", US) as process:
        await process.line()
        heard = await connect(folder)
        position = 0
        while position < len(sent):
            length = cuts.choice([1, 7, 4096, 65_537, 1_000_000])
            heard.channel.write(memoryview(sent)[position : position + length])
            position += length
            if heard.channel.buffered_bytes > 4 * MIB:
                await heard.wait_until(lambda heard: heard.channel.buffered_bytes < MIB)
        await heard.wait_until(lambda heard: len(heard.received) >= len(sent))
        assert heard.received == sent
        heard.channel.close()


@on_each_loop
async def test_a_long_path_is_an_address_too(tmp_path):
    """A unix socket's own address holds 107 bytes; a state folder's path may be longer."""
    folder = tmp_path / ("lang " * 8) / ("ü" * 40) / ("tief" * 10)
    async with Here(folder, echo):
        heard = await connect(folder)
        heard.channel.write(b"here")
        await heard.wait_until(lambda heard: heard.received == b"here")
        heard.channel.close()


@on_each_loop
async def test_nobody_listens_is_said_so(folder):
    with pytest.raises(NobodyListens, match="nobody listens"):
        await connect(folder)
    async with Here(folder):
        pass
    with pytest.raises(NobodyListens, match="nobody listens"):
        await connect(folder)


@on_each_loop
async def test_a_living_listener_keeps_its_address(folder):
    with PipeProcess(folder, "echo", US) as process:
        assert await process.line() == "listening"
        with pytest.raises(AddressTaken, match="another process"):
            await LocalPipes().listen(PipeAddress(folder, "pool"), allowed=[US], on_connect=lambda channel: Heard())
        heard = await connect(folder)
        heard.channel.write(b"still here")
        await heard.wait_until(lambda heard: heard.received == b"still here")
        heard.channel.close()


@on_each_loop
async def test_the_address_of_a_killed_listener_is_taken_over(folder):
    with PipeProcess(folder, "echo", US) as process:
        await process.line()
        heard = await connect(folder)
        process.kill()
        await heard.wait_closed()
        with pytest.raises(NobodyListens):
            await connect(folder)
        async with Here(folder, echo):
            again = await connect(folder)
            again.channel.write(b"new")
            await again.wait_until(lambda heard: heard.received == b"new")
            again.channel.close()


@on_each_loop
async def test_two_names_in_one_folder_are_two_addresses(folder):
    async with Here(folder) as pool, Here(folder, name="admin") as admin:
        heard = await connect(folder)
        await pool.peer()
        assert admin.peers == []
        heard.channel.close()


@on_each_loop
async def test_a_killed_connector_is_noticed_at_once(folder):
    async with Here(folder) as here:
        with PipeProcess(folder, "connect", US) as process:
            peer = await here.peer()
            assert (await process.line()).startswith("peer")
            process.kill()
            await peer.wait_closed()
        assert peer.times_closed == 1
        peer.channel.write(b"into nothing")
        assert peer.channel.buffered_bytes == 0


@on_each_loop
async def test_both_sides_hear_of_a_close_once(folder):
    async with Here(folder) as here:
        heard = await connect(folder)
        peer = await here.peer()
        peer.channel.write(b"last words")
        peer.channel.close()
        peer.channel.close()
        await heard.wait_closed()
        await peer.wait_closed()
        heard.channel.close()
        await asyncio.sleep(0.05)
        assert heard.received == b"last words"
        assert (heard.times_closed, peer.times_closed) == (1, 1)


@on_each_loop
async def test_a_peer_that_does_not_read_is_seen_in_the_buffer_and_can_be_dropped(folder):
    async with Here(folder) as here:
        with PipeProcess(folder, "sleep", US) as process:
            peer = await here.peer()
            assert (await process.line()).startswith("peer")
            for _ in range(64):
                peer.channel.write(bytes(MIB))
                await asyncio.sleep(0)
            assert peer.channel.buffered_bytes > 48 * MIB
            peer.channel.close()
            await peer.wait_closed()
            assert peer.channel.buffered_bytes == 0


@on_each_loop
async def test_a_flood_does_not_delay_another_peer(folder):
    """64 MiB come from one while the other asks and is answered, many times, before the flood is through."""
    flooded = 0
    flood_begins = asyncio.Event()

    def on_data(heard):
        nonlocal flooded
        if heard.received[:1] == b"?":
            echo(heard)
        else:
            flooded += len(heard.received)
            flood_begins.set()
            heard.received.clear()

    async with Here(folder, on_data) as here:
        heard = await connect(folder)
        with PipeProcess(folder, "flood", US):
            async with asyncio.timeout(120):
                await flood_begins.wait()
            during = 0
            while flooded < 64 * MIB:
                during += 1
                heard.channel.write(b"?")
                await heard.wait_until(lambda heard: heard.received == b"?" * during)  # noqa: B023 - awaited here
            assert during > 20
        heard.channel.close()
        assert len(here.peers) == 2


@on_each_loop
async def test_many_connections_are_told_apart(folder):
    async with Here(folder, echo):
        heard = [await connect(folder) for _ in range(40)]
        for number, one in enumerate(heard):
            one.channel.write(b"number %d" % number)
        for number, one in enumerate(heard):
            await one.wait_until(lambda one, number=number: one.received == b"number %d" % number)
            one.channel.close()


@on_each_loop
async def test_connections_leave_no_descriptor_or_handle(folder):
    async with Here(folder, echo) as here:

        async def one() -> None:
            heard = await connect(folder)
            heard.channel.write(b"x")
            await heard.wait_until(lambda heard: heard.received == b"x")
            heard.channel.close()
            await here.peers[-1].wait_closed()
            await heard.wait_closed()

        for _ in range(5):
            await one()
        before = open_handles()
        for _ in range(300):  # more than may be open at a time
            await one()
        async with asyncio.timeout(120):
            while open_handles() > before + 5:  # noqa: ASYNC110 - the last are closed by the loop
                await asyncio.sleep(0.02)


@on_each_loop
async def test_a_receiver_that_cannot_be_made_closes_that_channel_alone(folder):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    ready = False

    def on_connect(channel):
        if not ready:
            raise LookupError("no receiver")
        return Heard()

    listening = await LocalPipes().listen(PipeAddress(folder, "pool"), allowed=[US], on_connect=on_connect)
    heard = await connect(folder)
    await heard.wait_closed()
    ready = True
    again = await connect(folder)
    await asyncio.sleep(0.05)
    assert again.times_closed == 0
    assert [type(error) for error in told] == [LookupError]
    again.channel.close()
    listening.close()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "x" * 41, "nul\0"])
@on_each_loop
async def test_a_name_that_is_none_is_refused(folder, name):
    with pytest.raises(ValueError, match="no name of a pipe"):
        await LocalPipes().listen(PipeAddress(folder, name), allowed=[US], on_connect=lambda channel: Heard())


@pytest.mark.parametrize(
    "account", ["", "root", "uid:-1", "uid:4294967295", "S-1-1-0-x", "Everyone", "uid:0)(A;;GA;;;WD"]
)
@on_each_loop
async def test_an_account_that_is_none_is_refused(folder, account):
    with pytest.raises(ValueError, match="no account"):
        await LocalPipes().listen(PipeAddress(folder, "pool"), allowed=[account], on_connect=lambda channel: Heard())
    with pytest.raises(ValueError, match="no account"):
        await connect(folder, owner=account)
    with pytest.raises(ValueError, match="no account"):
        Sections().create(4096, shared_with=[account])


@on_each_loop
async def test_sections_are_seen_by_both_and_outlive_their_owner(folder):
    with PipeProcess(folder, "lend", US) as process:
        await process.line()
        heard = await connect(folder)
        heard.channel.write(b"\x05\x06")
        await heard.wait_until(lambda heard: heard.received.count(b"\n") == 2)
        tokens = heard.received.decode().split()
        second, first = (heard.channel.open_section(token, 65_536) for token in reversed(tokens))
        assert bytes(first.view) == b"\x05" * 65_536
        assert bytes(second.view) == b"\x06" * 65_536
        process.kill()
        await heard.wait_closed()
        first.view[0] = 9
        assert first.view[0] == 9
        assert second.view[65_535] == 6
        first.close()
        second.close()


@on_each_loop
async def test_what_the_peer_writes_into_a_section_is_seen_by_its_owner(folder):
    async with Here(folder) as here:
        heard = await connect(folder)
        peer = await here.peer()
        section = Sections().create(100_000, shared_with=[US])
        token = peer.channel.hand_over(section)
        peer.channel.write(token.encode())
        await heard.wait_until(lambda heard: heard.received == token.encode())
        opened = heard.channel.open_section(token, 100_000)
        opened.view[:5] = b"hello"
        opened.close()
        assert bytes(section.view[:6]) == b"hello\0"
        section.close()
        heard.channel.close()


@on_each_loop
async def test_only_what_was_handed_over_can_be_opened(folder):
    async with Here(folder) as here:
        heard = await connect(folder)
        peer = await here.peer()
        section = Sections().create(4096, shared_with=[US])
        token = peer.channel.hand_over(section)
        peer.channel.write(b".")
        await heard.wait_until(lambda heard: heard.received == b".")
        for wrong in ("", "2", "0", "../x", "0" * 32, "f" * 65):
            with pytest.raises(OSError, match="handed over no section"):
                heard.channel.open_section(wrong, 4096)
        with pytest.raises(OSError, match="announced"):
            heard.channel.open_section(token, 1 << 30)
        section.close()
        heard.channel.close()


@on_each_loop
async def test_the_connecting_side_hands_nothing_over_and_the_listening_opens_nothing(folder):
    async with Here(folder) as here:
        heard = await connect(folder)
        peer = await here.peer()
        with pytest.raises(TypeError, match="listening side"):
            heard.channel.hand_over(Sections().create(4096, shared_with=[US]))
        with pytest.raises(OSError, match="handed over no section"):
            peer.channel.open_section("1", 4096)
        with pytest.raises(TypeError, match="only sections"):
            peer.channel.hand_over(object())
        heard.channel.close()
