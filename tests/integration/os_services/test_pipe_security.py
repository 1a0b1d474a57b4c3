"""What an attacker with another account on this machine tries on a pipe, and what comes of it."""

import asyncio
import os
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.rigs.event_loops import on_each_loop
from tests.rigs.pipe_process import Heard, PipeProcess

from torchgate.contract.local_pipes import HELLO, WELCOME, ForeignOwner, NobodyListens, PeerRefused, PipeAddress

if sys.platform == "win32":
    from torchgate.windows.local_pipes import WindowsLocalPipes as LocalPipes
    from torchgate.windows.section import WindowsSections as Sections
else:
    from torchgate.posix.local_pipes import PosixLocalPipes as LocalPipes
    from torchgate.posix.section import PosixSections as Sections

US = LocalPipes().own_account
STRANGER = "S-1-5-21-11-22-33-1001" if sys.platform == "win32" else "uid:54321"
STRANGERS_UID = 54_321
HOSTILE = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
    pytest.param(HELLO[:-1] + b"2", id="another-version"),
    pytest.param(HELLO[:5], id="half-a-hello"),
    pytest.param(bytes(100_000), id="zeros"),
]


@pytest.fixture
def folder(tmp_path):
    if sys.platform != "win32":
        for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
            parent.chmod(0o755)  # of pytest's own folders, so that a stranger comes as far as to ours
    return tmp_path / "state"


class Pipes:
    """Listens and connects in one folder; closes all of it."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.peers: list[Heard] = []
        self._connected: list[Heard] = []
        self._listening = []
        self._introduced = asyncio.Event()

    async def listen(self, *allowed):
        def on_connect(channel):
            self.peers.append(Heard().introduced(channel))
            self._introduced.set()
            return self.peers[-1]

        address = PipeAddress(self.folder, "pool")
        self._listening.append(await LocalPipes().listen(address, allowed=allowed, on_connect=on_connect))
        return self._listening[-1]

    async def connect(self, owner=US) -> Heard:
        heard = Heard()
        channel = await LocalPipes().connect(PipeAddress(self.folder, "pool"), heard, owner=owner)
        self._connected.append(heard.introduced(channel))
        if self._listening:  # on Windows the greeting is here before the listener's next turn
            await asyncio.wait_for(self._introduced.wait(), 120)
            self._introduced.clear()
        return heard

    async def aclose(self) -> None:
        for listening in self._listening:
            listening.close()
        for heard in (*self._connected, *self.peers):
            heard.channel.close()
            await heard.wait_closed()
        await asyncio.sleep(0.01)


@pytest.fixture
def pipes(folder):
    return Pipes(folder)


@on_each_loop
async def test_an_account_that_is_not_named_is_not_let_in_be_it_the_listeners_own(pipes):
    await pipes.listen(STRANGER)
    with pytest.raises(PeerRefused, match="does not admit"):
        await pipes.connect()
    assert pipes.peers == []


@on_each_loop
async def test_a_connector_leaves_a_listener_of_another_account_unwritten(pipes):
    await pipes.listen(US)
    with pytest.raises(ForeignOwner, match="nothing was sent"):
        await pipes.connect(owner=STRANGER)


@pytest.mark.linux("raw unix sockets")
@pytest.mark.parametrize("hostile", HOSTILE)
@on_each_loop
async def test_who_does_not_greet_is_dropped_unanswered(pipes, hostile):
    await pipes.listen(US)
    attacker = socket.socket(socket.AF_UNIX)
    attacker.setblocking(False)
    attacker.connect(str(pipes.folder / "pool.sock"))
    loop = asyncio.get_running_loop()
    with suppress(ConnectionResetError, BrokenPipeError):
        await loop.sock_sendall(attacker, hostile)
        attacker.shutdown(socket.SHUT_WR)
        assert await asyncio.wait_for(loop.sock_recv(attacker, 100), 120) == b""
    attacker.close()
    assert pipes.peers == []
    good = await pipes.connect()
    good.channel.close()


@pytest.mark.linux("raw unix sockets")
@on_each_loop
async def test_silent_connections_beyond_the_limit_are_dropped_and_leave_when_they_must(pipes):
    await pipes.listen(US)
    silent = []
    for _ in range(220):
        attacker = socket.socket(socket.AF_UNIX)
        attacker.setblocking(False)
        with suppress(BlockingIOError):
            attacker.connect(str(pipes.folder / "pool.sock"))
        silent.append(attacker)
        await asyncio.sleep(0)
    with pytest.raises(PeerRefused, match="no place"):
        await pipes.connect()
    for attacker in silent:
        attacker.close()
    async with asyncio.timeout(120):
        while True:
            with suppress(PeerRefused):  # until all of their ends have been heard of
                await pipes.connect()
                break


@pytest.mark.linux("descriptors over unix sockets")
@on_each_loop
async def test_descriptors_that_a_gate_sends_are_not_even_received(pipes):
    """A gate that sends its pool descriptors would otherwise use up the pool's."""
    await pipes.listen(US)
    heard = await pipes.connect()
    before = open_descriptors()
    raw = heard.channel._socket
    ours = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    for _ in range(10):
        socket.send_fds(raw, [b"x"], ours)
    for descriptor in ours:
        os.close(descriptor)
    await pipes.peers[0].wait_until(lambda peer: peer.received == b"x" * 10)
    assert open_descriptors() == before


@pytest.mark.linux("descriptors over unix sockets")
@pytest.mark.parametrize("what", ["too many at once", "too many unopened", "unsealed", "no memory"])
@on_each_loop
async def test_a_listener_that_sends_wrong_descriptors_harms_nobody(pipes, what):
    """The connector has no descriptor more when the channel is closed, and opens nothing that could kill it."""
    await pipes.listen(US)
    heard = await pipes.connect()
    raw = pipes.peers[0].channel._socket
    before = open_descriptors()
    if what == "unsealed":
        ours = [os.memfd_create("soft")]
        os.ftruncate(ours[0], 4096)
    else:
        ours = [os.open("/dev/null", os.O_RDONLY) for _ in range({"too many at once": 80}.get(what, 1))]
    for _ in range(70 if what == "too many unopened" else 1):
        socket.send_fds(raw, [b"x"], ours)
    for descriptor in ours:
        os.close(descriptor)
    if what in {"unsealed", "no memory"}:
        await heard.wait_until(lambda heard: heard.received == b"x")
        with pytest.raises(OSError, match=r"not sealed|Invalid argument"):
            heard.channel.open_section("1", 4096)
        assert heard.times_closed == 0
        assert open_descriptors() == before
        heard.channel.close()
    else:
        await heard.wait_closed()
    await pipes.peers[0].wait_closed()
    assert open_descriptors() == before - 2


@pytest.mark.linux("mode bits")
@on_each_loop
async def test_the_files_are_closed_to_others(pipes):
    pipes.folder.mkdir(mode=0o777)
    listening = await pipes.listen(US)
    assert stat.S_IMODE(pipes.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((pipes.folder / "pool.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE((pipes.folder / "pool.lock").stat().st_mode) == 0o600
    listening.close()
    assert not (pipes.folder / "pool.sock").exists()


@pytest.mark.linux("files in place of the socket")
@pytest.mark.parametrize("where", ["pool.sock", "pool.lock"])
@on_each_loop
async def test_a_link_in_place_of_our_files_is_not_followed(pipes, tmp_path, where):
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    pipes.folder.mkdir()
    (pipes.folder / where).symlink_to(victim)
    with suppress(OSError):
        (await pipes.listen(US)).close()
    assert victim.read_text(encoding="utf-8") == "precious"


needs_root = pytest.mark.skipif(
    sys.platform != "win32" and os.geteuid() != 0, reason="needs root: becomes another account"
)


@needs_root
@pytest.mark.linux("becomes another account by setuid")
@on_each_loop
async def test_a_stranger_is_stopped_by_the_file_and_behind_it_by_its_uid(pipes):
    await pipes.listen(US)
    with PipeProcess(pipes.folder, "connect", US, as_uid=STRANGERS_UID) as process:
        assert (await process.line()).startswith("PeerRefused") is True
    pipes.folder.chmod(0o777)  # somebody opened it by hand: the kernel's word decides
    (pipes.folder / "pool.sock").chmod(0o666)
    with PipeProcess(pipes.folder, "connect", US, as_uid=STRANGERS_UID) as process:
        said = await process.line()
        assert said.startswith("PeerRefused")
        assert "does not admit uid 54321" in said
    assert pipes.peers == []


@needs_root
@pytest.mark.linux("becomes another account by setuid")
@on_each_loop
async def test_an_allowed_account_is_let_in_by_an_access_list_and_no_other(pipes):
    await pipes.listen("uid:54321")
    with PipeProcess(pipes.folder, "connect", US, as_uid=54_322) as other:
        assert (await other.line()).startswith("PeerRefused")
    with PipeProcess(pipes.folder, "connect", US, as_uid=STRANGERS_UID) as process:
        assert (await process.line()).startswith(f"peer {US} ")
        assert pipes.peers[0].channel.peer.account == STRANGER
        assert not pipes.peers[0].channel.peer.is_own_account
        pipes.peers[0].channel.write(b"welcome")
        assert await process.line() == "data welcome"
    await pipes.peers[0].wait_closed()


@needs_root
@pytest.mark.linux("becomes another account by setuid")
@on_each_loop
async def test_a_section_crosses_from_one_account_to_another(pipes):
    pipes.folder.mkdir()
    os.chown(pipes.folder, STRANGERS_UID, STRANGERS_UID)
    with PipeProcess(pipes.folder, "lend", US, as_uid=STRANGERS_UID) as process:
        assert await process.line() == "listening"
        heard = await pipes.connect(owner=STRANGER)
        heard.channel.write(b"\x07")
        await heard.wait_until(lambda heard: heard.received.endswith(b"\n"))
        section = heard.channel.open_section(heard.received.decode().strip(), 65_536)
        assert bytes(section.view) == b"\x07" * 65_536
        section.close()
        heard.channel.close()


@needs_root
@pytest.mark.linux("becomes another account by setuid")
@on_each_loop
async def test_a_listener_of_a_stranger_receives_no_byte(pipes):
    """The attacker put a socket where the pool's will be, lets everybody in, and waits for a gate's words."""
    pipes.folder.mkdir()
    os.chown(pipes.folder, STRANGERS_UID, STRANGERS_UID)
    with PipeProcess(pipes.folder, "trap", as_uid=STRANGERS_UID) as process:
        assert await process.line() == "listening"
        with pytest.raises(ForeignOwner, match="uid:54321"):
            await pipes.connect()
        assert await process.line() == "received 0 bytes"


@needs_root
@pytest.mark.linux("becomes another account by setuid")
@on_each_loop
async def test_a_pool_does_not_put_its_socket_into_a_strangers_folder(pipes):
    pipes.folder.mkdir()
    os.chown(pipes.folder, STRANGERS_UID, STRANGERS_UID)
    with pytest.raises(PermissionError, match="could replace what lies in it"):
        await pipes.listen(US)
    with pytest.raises(NobodyListens):
        await pipes.connect()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def sddl_of(handle: int) -> str:
    import win32security

    what = win32security.OWNER_SECURITY_INFORMATION | win32security.DACL_SECURITY_INFORMATION
    descriptor = win32security.GetKernelObjectSecurity(handle, what)
    return win32security.ConvertSecurityDescriptorToStringSecurityDescriptor(descriptor, 1, what)


@pytest.mark.windows("access lists of pipes")
@on_each_loop
async def test_the_pipes_access_list_names_the_two_accounts_and_the_pool_as_owner(pipes):
    """Read back: the peer may read and write, and may not make one more instance (0x4) to catch others with."""
    listening = await pipes.listen(US, STRANGER)
    heard = await pipes.connect()
    for handle in (listening._waiting.handle, heard.channel._pipe.handle):
        assert sddl_of(handle) == f"O:{US}D:P(A;;GA;;;{US})(A;;0x12019b;;;{STRANGER})"


@pytest.mark.windows("access lists of sections")
def test_a_sections_access_list_names_the_two_accounts():
    section = Sections().create(4096, shared_with=[STRANGER, US])
    assert (
        sddl_of(section.handle) == f"O:{US}D:P(A;;GA;;;{US})(A;;CCDCLCRC;;;{STRANGER})"
    )  # 0x20007: query, write, read
    section.close()
    private = Sections().create(4096)
    assert sddl_of(private.handle) == f"O:{US}D:P(A;;GA;;;{US})"
    private.close()


@pytest.mark.windows("groups have SIDs too")
@pytest.mark.parametrize(
    "group", ["S-1-1-0", "S-1-5-7", "S-1-5-2", "S-1-5-11", "S-1-5-32-544", "S-1-5-80-0", "S-1-15-2-1"]
)
@on_each_loop
async def test_a_group_of_everybody_is_no_account(pipes, group):
    with pytest.raises(ValueError, match="no account"):
        await pipes.listen(group)
    with pytest.raises(ValueError, match="no account"):
        Sections().create(4096, shared_with=[group])


@pytest.mark.windows("a pipe's client has a token")
@on_each_loop
async def test_the_gate_lends_its_token_for_identification_only(pipes):
    """The pool learns who it is, and can do nothing in its name."""
    import win32api
    import win32con
    import win32security

    await pipes.listen(US)
    await pipes.connect()
    win32security.ImpersonateNamedPipeClient(pipes.peers[0].channel._pipe.handle)
    try:
        token = win32security.OpenThreadToken(win32api.GetCurrentThread(), win32con.TOKEN_QUERY, True)
        level = win32security.GetTokenInformation(token, win32security.TokenImpersonationLevel)
    finally:
        win32security.RevertToSelf()
    if level == win32security.SecurityImpersonation and is_wine():
        pytest.skip("Wine: the level that a client asks for is not kept")
    assert level == win32security.SecurityIdentification


@pytest.mark.windows("named sections")
@on_each_loop
async def test_a_section_that_belongs_to_another_than_the_pipes_owner_is_not_opened(pipes):
    await pipes.listen(US)
    heard = await pipes.connect()
    section = Sections().create(4096, shared_with=[US])
    token = pipes.peers[0].channel.hand_over(section)
    heard.channel._peer = type(heard.channel.peer)(STRANGER, 0, False)
    with pytest.raises(OSError, match="belongs to"):
        heard.channel.open_section(token, 4096)
    section.close()


def is_wine() -> bool:
    import ctypes

    return hasattr(ctypes.windll.ntdll, "wine_get_version")


def test_both_greetings_are_of_one_length():
    """Processes of two versions meet here: a longer one would wait for bytes that never come."""
    assert len(HELLO) == len(WELCOME) == 16
