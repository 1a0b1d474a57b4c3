"""The gate behind front doors, over real sockets: what IIS's module sends, what others on this machine send."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from tests.rigs.door_requests import ALICE_SID, OpenHandles
from tests.rigs.gate_rig import ALICE, ALICE_KEY, DOUBLE, ONE_ROW, GateRig, gate_rig, served
from tests.rigs.http_connection import Answer

from torchgate.contract.windows_tokens import TokenFacts
from torchgate.gate.asgi import GateApp
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.door_parts import DoorNeighbours, front_door_parts
from torchgate.gate.front_door import FrontDoor
from torchgate.gate.http_server import HttpServer
from torchgate.gate.marked_paths import MarkedPaths
from torchgate.gate.settings import GateSettings

TOKEN = "0f8fad5b-d9cb-469f-a165-70867728950e"
PAIRING = {"MS-ASPNETCORE-TOKEN": TOKEN}
STOP = {"MS-ASPNETCORE-EVENT": "shutdown"}
ENVIRONMENT = {"ASPNETCORE_TOKEN": TOKEN, "ASPNETCORE_APPL_PATH": "/models"}


def ancm_rig(handles: OpenHandles) -> GateRig:
    """Behind ASP.NET Core Module, mounted at /models, its /v2 for Windows alone; alice may all."""
    rig = gate_rig()
    settings = GateSettings(front_door="ancm")
    neighbours = DoorNeighbours(tokens=handles, windows_paths=MarkedPaths(["/v2"]))
    parts = front_door_parts(settings, ENVIRONMENT, neighbours)
    rig.door = FrontDoor(FRONT_DOORS["ancm"], parts=parts)
    rig.keys.principals[ALICE_SID] = ALICE
    return rig


async def asked(
    rig: GateRig, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> Answer:
    """One request on a connection of its own."""
    connection = rig.connect()
    try:
        return await connection.request(method, path, headers, body)
    finally:
        await connection.close()


async def test_a_windows_user_infers_through_iis_and_the_record_has_its_own_address() -> None:
    handles = OpenHandles(tokens={0x4B8: TokenFacts(ALICE_SID)})
    async with served(ancm_rig(handles)) as rig:
        headers = {**PAIRING, "MS-ASPNETCORE-WINAUTHTOKEN": "4b8", "X-Forwarded-For": "1.1.1.1, 203.0.113.9:5"}
        answer = await asked(rig, "POST", "/Models" + DOUBLE, headers, ONE_ROW)
        assert answer.status == 200
        assert handles.closed == [0x4B8]
        event = rig.audit.events[-1]
        assert (event.peer, event.path, event.front_door) == ("203.0.113.9", DOUBLE, "ancm")


@pytest.mark.identity_case("ancm", "a good handle used twice", "401 the second time, nothing closed twice")
async def test_a_handle_is_worth_one_request() -> None:
    """The attacker replays a request that it has seen, token header and all."""
    handles = OpenHandles(tokens={0x4B8: TokenFacts(ALICE_SID)})
    async with served(ancm_rig(handles)) as rig:
        headers = {**PAIRING, "MS-ASPNETCORE-WINAUTHTOKEN": "4b8"}
        assert (await asked(rig, "POST", "/models" + DOUBLE, headers, ONE_ROW)).status == 200
        assert (await asked(rig, "POST", "/models" + DOUBLE, headers, ONE_ROW)).status == 401
        assert handles.closed == [0x4B8]


async def test_a_request_that_did_not_come_by_iis_gets_400_without_a_word() -> None:
    """The attacker is another program on this machine: a handle, a key, an address, and no pairing token."""
    handles = OpenHandles(tokens={0x4B8: TokenFacts(ALICE_SID)})
    async with served(ancm_rig(handles)) as rig:
        forged = {"MS-ASPNETCORE-WINAUTHTOKEN": "4b8", "X-Forwarded-For": "203.0.113.9:5", **ALICE_KEY}
        for path in ("/models" + DOUBLE, "/models/v2/health/live", "/models/iisintegration"):
            answer = await asked(rig, "POST", path, {**forged, **STOP})
            assert (answer.status, answer.body) == (400, b"")
            assert "www-authenticate" not in answer.headers
        assert handles.asked == []
        assert rig.stops == 0
        assert {event.peer for event in rig.audit.events} == {"127.0.0.1"}
        assert rig.keys.asked == 0


async def test_iis_stops_the_server_whatever_the_rest_of_the_request_is() -> None:
    async with served(ancm_rig(OpenHandles())) as rig:
        answer = await asked(rig, "POST", "/models/iisintegration", {**PAIRING, **STOP, "x_api_key": "twin"})
        assert (answer.status, answer.body, answer.headers["content-length"]) == (202, b"", "0")
        assert rig.stops == 1


async def test_floods_of_unproven_requests_are_counted_and_not_recorded_one_by_one() -> None:
    """The attacker wants to fill the disk with refusals."""
    rig = ancm_rig(OpenHandles())
    rig.refusals.left = 3
    async with served(rig):
        statuses = [(await asked(rig, "GET", "/models/v2")).status for _ in range(5)]
        assert statuses == [400, 400, 400, 429, 429]
        assert len(rig.audit.events) == 3


def proxy_rig(path: Path) -> GateRig:
    """Behind a proxy that connects by a unix socket and names users."""
    rig = gate_rig(
        GateSettings.model_validate(
            {"bind": f"unix:{path}", "front_door": "proxy", "proxy": {"user_header": "X-Remote-User"}}
        )
    )
    rig.door = FrontDoor(FRONT_DOORS["proxy"], parts=front_door_parts(rig.settings, {}, DoorNeighbours()))
    rig.keys.principals["alice"] = ALICE
    return rig


async def ask(path: Path, headers: str = "") -> bytes:
    """One GET over the socket."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(f"GET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 120)
    writer.close()
    return answer


@pytest.mark.linux("unix sockets")
async def test_a_proxy_on_a_unix_socket_is_proven_by_the_sockets_permissions(tmp_path: Path) -> None:
    path = tmp_path / "gate.sock"
    async with served(proxy_rig(path)) as rig:
        assert path.stat().st_mode & 0o777 == 0o600
        assert (await ask(path, "X-Remote-User: alice\r\n")).startswith(b"HTTP/1.1 200 ")
        assert rig.audit.events[-1].peer == "unix"
    assert not path.exists()


@pytest.mark.linux("unix sockets")
async def test_what_a_killed_server_left_is_replaced_and_what_a_running_one_holds_is_not(tmp_path: Path) -> None:
    path = tmp_path / "gate.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    async with served(proxy_rig(path)) as rig:
        with pytest.raises(OSError, match="another server"):
            await HttpServer(GateApp(rig.services()), rig.settings).start()
        assert (await ask(path)).startswith(b"HTTP/1.1 401 ")


@pytest.mark.linux("unix sockets")
async def test_a_socket_that_others_could_exchange_is_not_made(tmp_path: Path) -> None:
    """The attacker would put its own socket there, and get every request that the proxy sends."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    rig = proxy_rig(folder / "gate.sock")
    with pytest.raises(OSError, match="everybody may write"):
        await HttpServer(GateApp(rig.services()), rig.settings).start()


@pytest.mark.linux("unix sockets")
async def test_a_file_at_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine", encoding="utf-8")
    rig = proxy_rig(path)
    with pytest.raises(OSError, match="no socket"):
        await HttpServer(GateApp(rig.services()), rig.settings).start()
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.linux("unix sockets")
async def test_a_group_may_connect_where_the_settings_say_so(tmp_path: Path) -> None:
    rig = proxy_rig(tmp_path / "gate.sock")
    rig.settings = rig.settings.model_copy(update={"socket_mode": "0660"})
    before = os.umask(0o077)
    try:
        async with served(rig):
            assert (tmp_path / "gate.sock").stat().st_mode & 0o777 == 0o660
    finally:
        os.umask(before)


TARGETS = [
    b"http://localhost/v2",
    b"http://evil.example/v2",
    b"//evil.example/v2",
    b"*",
    b"/v2#fragment",
    b"localhost:80",
]
HEADS = [
    b"Host : localhost\r\n",
    b" Host: localhost\r\n",
    b"Host: localhost\r\n folded\r\n",
    b"Host: localhost\r\nX-API-Key: alice-\r\n key\r\n",
    b"Host: localhost\r\nX-API-Key : alice-key\r\n",
    b"Host: localhost\r\nX-API-Key\x00: alice-key\r\n",
    b"Host: localhost\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    b"Host: localhost\r\nHost: localhost\r\n",
    b"Host: localhost, localhost\r\n",
    b"Host: localhost:80:80\r\n",
    b"Host: user@localhost\r\n",
    b"Host: localhost/x\r\n",
    b"",
]


async def raw(rig: GateRig, data: bytes) -> bytes:
    """The answer to some bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.readuntil(b"\r\n"), 120)
    finally:
        writer.transport.abort()


@pytest.mark.identity_case("front_door", "absolute-form, authority and asterisk targets", "400")
@pytest.mark.parametrize("target", TARGETS)
async def test_a_target_that_is_no_path_is_refused(target: bytes) -> None:
    """The attacker names a second host in the target, which some reader would prefer to Host."""
    async with served(gate_rig()) as rig:
        head = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nX-API-Key: alice-key\r\n\r\n"
        assert (await raw(rig, head)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.identity_case("front_door", "folded lines, space before the colon, NUL, two framings, odd Hosts", "400")
@pytest.mark.parametrize("head", HEADS)
async def test_a_head_that_two_readers_could_read_differently_is_refused(head: bytes) -> None:
    """The attacker wants the proxy and us to see two different requests."""
    async with served(gate_rig()) as rig:
        key = b"" if b"X-API-Key" in head else b"X-API-Key: alice-key\r\n"
        assert (await raw(rig, b"GET /v2 HTTP/1.1\r\n" + head + key + b"\r\n")).startswith(b"HTTP/1.1 400 ")
