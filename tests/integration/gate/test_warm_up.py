"""IIS sends nobody before its warm-up request is answered, and that is when every model is ready or failed."""

from __future__ import annotations

import asyncio

import pytest
from tests.rigs.gate_rig import GateRig, gate_rig, served

from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.front_door import DoorParts, FrontDoor
from torchgate.gate.proofs import PairingProof
from torchgate.gate.settings import GateSettings


def iis_rig() -> GateRig:
    """A gate behind IIS's module."""
    rig = gate_rig()
    parts = DoorParts(PairingProof("the-token"), address_header=b"x-forwarded-for")
    rig.door = FrontDoor(FRONT_DOORS["ancm"], parts=parts)
    return rig


def from_address(address: str) -> dict[str, str]:
    """The headers of IIS's module."""
    return {"MS-ASPNETCORE-TOKEN": "the-token", "X-Forwarded-For": address}


async def test_the_answer_comes_when_the_models_are_warm_and_says_nothing() -> None:
    rig = gate_rig()
    rig.engine.is_warm = False
    async with served(rig):
        waiting, other = rig.connect(), rig.connect()
        asked = asyncio.create_task(waiting.request("GET", "/warm-up"))
        # Another request is answered meanwhile, so that ours surely has been looked at.
        assert (await other.request("GET", "/v2/health/ready")).status == 503
        assert not asked.done()
        rig.engine.is_warm = True
        answer = await asyncio.wait_for(asked, 120)
        assert (answer.status, answer.body) == (200, b"")
        assert rig.audit.events == []
        await waiting.close()
        await other.close()


async def test_a_wait_without_end_has_one() -> None:
    rig = gate_rig(GateSettings(bind="127.0.0.1:0", max_timeout_s=0.2))
    rig.engine.is_warm = False
    async with served(rig):
        connection = rig.connect()
        answer = await asyncio.wait_for(connection.request("GET", "/warm-up"), 120)
        assert (answer.status, answer.body) == (503, b"")
        await connection.close()


async def test_who_hangs_up_is_waited_for_no_longer() -> None:
    rig = gate_rig()
    rig.engine.is_warm = False
    async with served(rig):
        connection = rig.connect()
        asked = asyncio.create_task(connection.request("GET", "/warm-up"))
        other = rig.connect()
        await other.request("GET", "/v2/health/ready")
        rig.seen_one.clear()
        asked.cancel()
        await connection.close()
        assert (await rig.wait_event()).path == "/warm-up"
        await other.close()


@pytest.mark.identity_case("front door", "the warm-up path, by IIS, for a client elsewhere", "404")
@pytest.mark.parametrize("address", ["203.0.113.7:50123", "[2001:db8::1]:443", "127.0.0.1, 203.0.113.7:1", "garbage"])
async def test_callers_from_elsewhere_find_no_such_path(address: str) -> None:
    """The attacker hopes to hold connections open, or to learn when models load; X-Forwarded-For is no help."""
    rig = iis_rig()
    rig.engine.is_warm = False
    async with served(rig):
        connection = rig.connect()
        answer = await asyncio.wait_for(connection.request("GET", "/warm-up", from_address(address)), 120)
        await connection.close()
    assert answer.status == 404


@pytest.mark.parametrize(
    "address", ["127.0.0.1:50123", "[::1]:443", "203.0.113.7, 127.0.0.1:1", "[::ffff:127.0.0.1]:1"]
)
async def test_this_machine_s_own_warm_up_is_let_through(address: str) -> None:
    rig = iis_rig()
    async with served(rig):
        connection = rig.connect()
        assert (await connection.request("GET", "/warm-up", from_address(address))).status == 200
        await connection.close()
