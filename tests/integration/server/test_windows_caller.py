"""`torchgate serve` behind ASP.NET Core Module, with tokens that this process duplicates into it, as IIS does."""

from __future__ import annotations

import http.client
import socket
import sys
from collections.abc import Iterator

import pytest
from tests.rigs.server_process import ServerProcess

pytestmark = pytest.mark.windows("tokens exist there alone; tests/integration/gate has the same door over a fake")

if sys.platform == "win32":
    import win32api
    import win32con
    import win32event
    import win32security
    from tests.rigs.handle_tables import handles_of

    from torchgate.windows.access_list import own_sid
    from torchgate.windows.accounts import WindowsAccountLookup

PAIRING = "0f8fad5b-d9cb-469f-a165-70867728950e"
ADMINISTRATORS = "S-1-5-32-544"
SETTINGS = r"""
[gate]
front_door = "ancm"

[identity.windows]
enabled = true
paths = ["/v2", "/metrics"]
allow_own_account = true

[roles]
admin = ['group:BUILTIN\Administrators']
person = ['user:{account}']

[[policy.grants]]
roles = ["admin"]
actions = ["metrics"]
"""


class Iis:
    """What IIS has in hand: the server's process, and the right to put handles into it."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self._process = win32api.OpenProcess(win32con.PROCESS_ALL_ACCESS, False, server.pid)
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=240)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def lend(self, thing: object) -> int:
        """Duplicate a handle into the server; its number there."""
        here, same = win32api.GetCurrentProcess(), win32con.DUPLICATE_SAME_ACCESS
        return win32api.DuplicateHandle(here, thing, self._process, 0, False, same).Detach()

    def token(self, level: int | None = None, *, denied: str = "") -> int:
        """A token of our account, in the server."""
        own = win32security.OpenProcessToken(win32api.GetCurrentProcess(), win32security.TOKEN_ALL_ACCESS)
        if denied:
            groups = [(win32security.ConvertStringSidToSid(denied), 0)]
            return self.lend(win32security.CreateRestrictedToken(own, 0, groups, [], []))
        kind = win32security.TokenPrimary if level is None else win32security.TokenImpersonation
        strength = win32security.SecurityImpersonation if level is None else level
        return self.lend(win32security.DuplicateTokenEx(own, strength, win32security.TOKEN_ALL_ACCESS, kind))

    def servers_own_token(self) -> int:
        """Another handle to the token of the server's own process, in the server."""
        return self.lend(win32security.OpenProcessToken(self._process, win32security.TOKEN_ALL_ACCESS))

    def what_is(self, handle: int) -> str:
        """What the number names in the server; a closed one may soon be something else's."""
        here, same = win32api.GetCurrentProcess(), win32con.DUPLICATE_SAME_ACCESS
        try:
            thing = win32api.DuplicateHandle(self._process, handle, here, 0, False, same)
        except win32api.error:
            return "nothing"
        try:
            win32security.GetTokenInformation(thing, win32security.TokenStatistics)
        except win32security.error:
            return "no token"
        return "a token"

    def count(self) -> int:
        """Handles that the server has open."""
        return handles_of(self.server.pid)

    def get(self, *handles: str, path: str = "/v2") -> int:
        """The status of a request with these in its token header."""
        self._connection.putrequest("GET", path)
        self._connection.putheader("MS-ASPNETCORE-TOKEN", PAIRING)
        for handle in handles:
            self._connection.putheader("MS-ASPNETCORE-WINAUTHTOKEN", handle)
        self._connection.endheaders()
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


@pytest.fixture(scope="module")
def iis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iis]:
    folder = tmp_path_factory.mktemp("windows") / "project with späces"
    (folder / "models").mkdir(parents=True)
    account = WindowsAccountLookup().by_sid(own_sid()).name
    (folder / "torchgate.toml").write_text(SETTINGS.format(account=account), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"ASPNETCORE_TOKEN": PAIRING, "ASPNETCORE_APPL_PATH": "/", "ASPNETCORE_PORT": str(port)}
    with ServerProcess.start(folder, environment=environment) as server:
        iis = Iis(server)
        yield iis
        iis.close()


def actor(iis: Iis) -> dict:
    return iis.server.audit_events()[-1]["actor"]["user"]


@pytest.mark.identity_case("ancm", "a token that another process duplicated into the running server", "200")
def test_a_user_is_known_by_the_token_that_iis_hands_over(iis: Iis):
    handle = iis.token()
    assert iis.get(f"{handle:x}") == 200
    assert iis.what_is(handle) != "a token"
    assert own_sid() in str(actor(iis))


def test_a_handle_is_worth_one_request(iis: Iis):
    handle = iis.token()
    assert [iis.get(f"{handle:X}"), iis.get(f"{handle:x}")] == [200, 401]


def test_a_group_for_denials_alone_gives_nothing(iis: Iis):
    assert iis.get(f"{iis.token():x}", path="/metrics") == 200
    assert iis.get(f"{iis.token(denied=ADMINISTRATORS):x}", path="/metrics") == 403


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_an_anonymous_token_names_nobody(iis: Iis, level: int):
    handle = iis.token(level)
    assert iis.get(f"{handle:x}") == (401 if level == 0 else 200)
    assert iis.what_is(handle) != "a token"


def test_what_is_no_token_stays_open(iis: Iis):
    event = win32event.CreateEvent(None, True, 0, None)
    handle = iis.lend(event)
    assert iis.get(f"{handle:x}") == 401
    assert iis.what_is(handle) == "no token"


@pytest.mark.identity_case("ancm", "the server's own token, duplicated into it by another process", "401")
def test_the_servers_own_token_is_nobodys(iis: Iis):
    handle = iis.servers_own_token()
    assert iis.get(f"{handle:x}") == 401
    assert iis.what_is(handle) != "a token"


@pytest.mark.parametrize(
    "value", ["", "0", "fffffffffffffffc", "fffffffc", "-4", "0x4", " 4", "4 ", "1" * 17, "ann", "4,8"]
)
def test_garbage_is_refused_and_never_anonymous(iis: Iis, value: str):
    assert iis.get(value) == 401


@pytest.mark.identity_case("ancm", "two token headers", "401")
def test_two_handles_are_one_too_many(iis: Iis):
    first, second = iis.token(), iis.token()
    assert iis.get(f"{first:x}", f"{second:x}") == 401


def test_no_header_is_nobody(iis: Iis):
    assert iis.get() == 401


def test_no_handle_leaks(iis: Iis):
    iis.get(f"{iis.token():x}")
    before = iis.count()
    tokens = [f"{iis.token(denied='' if turn % 2 else ADMINISTRATORS):x}" for turn in range(300)]
    assert iis.count() >= before + 300
    assert {iis.get(token, path="/metrics") for token in tokens} == {200, 403}
    assert abs(iis.count() - before) < 20
