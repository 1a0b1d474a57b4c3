"""Handles over HTTP: what the gate opens and closes, on Windows in this process's own handle table."""

from __future__ import annotations

import sys

import pytest
from tests.rigs.gate_rig import ALICE, GateRig, gate_rig, served
from tests.rigs.handle_tables import FakeTable, HandleTable

from torchgate.gate.declarations import FRONT_DOORS, FrontDoorName
from torchgate.gate.door_parts import DoorNeighbours, front_door_parts
from torchgate.gate.front_door import FrontDoor
from torchgate.gate.marked_paths import MarkedPaths
from torchgate.gate.settings import GateSettings

if sys.platform == "win32":
    from tests.rigs.handle_tables import RealTable

    TABLES = [FakeTable, RealTable]
else:
    TABLES = [FakeTable]

ENVIRONMENT = {"ASPNETCORE_TOKEN": "a-token", "HTTP_PLATFORM_TOKEN": "a-token"}
PAIRING = {"MS-ASPNETCORE-TOKEN": "a-token"}
HEADERS: dict[FrontDoorName, str] = {
    "ancm": "MS-ASPNETCORE-WINAUTHTOKEN",
    "httpplatform": "X-IIS-WindowsAuthToken",
}


@pytest.fixture(params=TABLES)
def table(request) -> HandleTable:
    return request.param()


def behind(name: FrontDoorName, table: HandleTable) -> GateRig:
    """A gate behind one of IIS's modules, its /v2 for Windows alone."""
    rig = gate_rig()
    neighbours = DoorNeighbours(tokens=table.tokens, windows_paths=MarkedPaths(["/v2"]))
    parts = front_door_parts(GateSettings(front_door=name), ENVIRONMENT, neighbours)
    rig.door = FrontDoor(FRONT_DOORS[name], parts=parts)
    rig.keys.principals[table.own_sid] = ALICE
    return rig


async def status(rig: GateRig, headers: dict[str, str], path: str = "/v2") -> int:
    """Of one request."""
    connection = rig.connect()
    try:
        return (await connection.request("GET", path, {**PAIRING, **headers})).status
    finally:
        await connection.close()


@pytest.mark.parametrize("name", HEADERS)
async def test_a_token_of_iis_is_its_user_and_is_closed(table: HandleTable, name: FrontDoorName) -> None:
    handle = table.token()
    async with served(behind(name, table)) as rig:
        assert await status(rig, {HEADERS[name]: f"{handle:x}"}) == 200
        assert rig.audit.events[-1].principal == ALICE
    assert not table.is_open(handle)


@pytest.mark.identity_case("windows", "an event, file or process by its handle, marked path", "401, left open")
@pytest.mark.parametrize("name", HEADERS)
async def test_what_is_no_token_is_left_open(table: HandleTable, name: FrontDoorName) -> None:
    """The attacker names a thing of ours, so that we close it ourselves."""
    things = table.other_things()
    async with served(behind(name, table)) as rig:
        for handle in things.values():
            assert await status(rig, {HEADERS[name]: f"{handle:x}"}) == 401
    assert [kind for kind, handle in things.items() if not table.is_open(handle)] == []
    for handle in things.values():
        table.close(handle)


@pytest.mark.parametrize(("name", "is_left_open"), [("ancm", False), ("httpplatform", True)])
async def test_on_another_path_it_depends_on_whose_the_header_can_be(
    table: HandleTable, name: FrontDoorName, is_left_open: bool
) -> None:
    handle = table.token()
    async with served(behind(name, table)) as rig:
        assert await status(rig, {HEADERS[name]: f"{handle:x}"}, "/whoami") == 401
    assert table.is_open(handle) is is_left_open
    if is_left_open:
        table.close(handle)


@pytest.mark.parametrize("count", [199, 250, 2500])
async def test_a_head_of_as_many_headers_as_iis_lets_through_leaves_no_handle_open(
    table: HandleTable, count: int
) -> None:
    """The attacker, whom IIS knows, sends a head that we would refuse unread, with a fresh handle each time."""
    handle = table.token()
    rig = behind("ancm", table)
    rig.settings = GateSettings(bind="127.0.0.1:0", front_door="ancm")
    async with served(rig):
        headers = {f"a{number}": "" for number in range(count)}
        assert await status(rig, {**headers, HEADERS["ancm"]: f"{handle:x}"}) == 200
    assert not table.is_open(handle)


async def test_a_connection_too_many_is_refused_once_its_handle_is_closed(table: HandleTable) -> None:
    """The attacker, whom IIS knows, holds every connection, and sends another request with each new one."""
    handle = table.token()
    rig = behind("ancm", table)
    rig.settings = GateSettings(bind="127.0.0.1:0", front_door="ancm", max_connections=1)
    async with served(rig):
        held, read = rig.connect(), rig.connect()
        assert (await held.request("GET", "/v2", PAIRING)).status == 401
        answer = await read.request("GET", "/v2", {**PAIRING, HEADERS["ancm"]: f"{handle:x}"})
        assert (answer.status, answer.json()["code"]) == (503, "overloaded")
        assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
        assert (rig.audit.events[-1].principal, rig.audit.events[-1].code) == (None, "overloaded")
        await read.close()
        await held.close()
    assert not table.is_open(handle)


async def test_refusals_of_every_kind_leak_no_handle(table: HandleTable) -> None:
    """The attacker, whom IIS knows, sends what we refuse, again and again."""
    header = HEADERS["ancm"]
    async with served(behind("ancm", table)) as rig:
        before: int | None = None
        for round_number in range(20):
            for path, more in (
                ("/v2/%2576", {}),
                ("/v2", {"x_api_key": "twin"}),
                ("/v2", {"Host": "evil.example"}),
                ("/v2", {"X-API-Key": "second"}),
                ("/v2", {"Origin": "https://evil.example"}),
                ("/v2/health/live", {}),
                ("/nowhere", {}),
            ):
                await status(rig, {header: f"{table.token():x}", **more}, path)
            if round_number == 4:
                before = table.count()
        assert before is not None
        assert table.count() <= before + 5  # the loop's own come and go; 105 requests would have left 105
