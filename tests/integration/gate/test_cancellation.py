"""Taking a request back by the client's own id, on another connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.rigs.gate_rig import ALICE_KEY, GUEST_KEY, ONE_ROW, GateRig, gate_rig, served

from torchgate.contract.decision import Action

HANGS = "/v2/models/hangs/infer"
WITH_ID = ONE_ROW.replace(b"{", b'{"id":"body-id",', 1)


@pytest.fixture
async def rig() -> AsyncIterator[GateRig]:
    """A gate that listens."""
    async with served(gate_rig()) as rig:
        yield rig


async def cancelled(rig: GateRig, path: str, headers: dict[str, str]) -> object:
    """What the route says."""
    connection = rig.connect()
    try:
        answer = await connection.request("POST", path, headers, b"")
        assert answer.status == 200, answer.json()
        return answer.json()
    finally:
        await connection.close()


@pytest.mark.parametrize("called", ["header-id", "body-id"])
async def test_the_caller_of_a_cancelled_request_hears_it_at_once(rig: GateRig, called: str) -> None:
    waiting = rig.connect()
    await waiting.send("POST", HANGS, {**ALICE_KEY, "X-Request-ID": "header-id"}, WITH_ID)
    await asyncio.wait_for(rig.engine.has_begun.wait(), 120)
    assert await cancelled(rig, f"/v2/requests/{called}/cancel", ALICE_KEY) == {"cancelled": 1}
    answer = await waiting.receive()
    assert (answer.status, answer.json()["code"]) == (499, "cancelled")
    assert (await waiting.request("GET", "/whoami", ALICE_KEY, b"")).status == 200  # the connection is good
    await waiting.close()
    records = {event.action: event for event in rig.audit.events}
    assert (records["infer"].status, records["infer"].code) == (499, "cancelled")
    assert records["infer"].client_request_id == "header-id"
    assert (records["cancel"].status, records["cancel"].path) == (200, f"/v2/requests/{called}/cancel")
    assert rig.engine.open_permits == 0


async def test_a_stranger_learns_nothing_and_cancels_nothing(rig: GateRig) -> None:
    """The guest, who may do nothing else here, names Alice's request: the same answer as for an id that is none."""
    waiting = rig.connect()
    await waiting.send("POST", HANGS, {**ALICE_KEY, "X-Request-ID": "header-id"}, ONE_ROW)
    await asyncio.wait_for(rig.engine.has_begun.wait(), 120)
    hers = await cancelled(rig, "/v2/requests/header-id/cancel", GUEST_KEY)
    none = await cancelled(rig, "/v2/requests/no-such-id/cancel", GUEST_KEY)
    assert hers == none == {"cancelled": 0}
    assert rig.engine.running
    assert await cancelled(rig, "/v2/requests/header-id/cancel", ALICE_KEY) == {"cancelled": 1}
    assert (await waiting.receive()).status == 499
    await waiting.close()


async def test_nobody_cancels_without_a_credential(rig: GateRig) -> None:
    connection = rig.connect()
    assert (await connection.request("POST", "/v2/requests/x/cancel", {}, b"")).status == 401
    await connection.close()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/requests/" + "x" * 129 + "/cancel", 400),
        ("/v2/requests/" + "x" * 128 + "/cancel", 200),
        ("/v2/requests/a%2Fb/cancel", 400),
        ("/v2/requests/a%2541/cancel", 400),
        ("/v2/requests/%C3%A4%20b/cancel", 200),
        ("/v2/requests/%FF/cancel", 400),
        ("/v2/requests//cancel", 404),
        ("/v2/requests/a/b/cancel", 404),
        ("/v2/requests/a/cancel/", 404),
        ("/v2/requests/{request}/cancel", 200),
    ],
)
async def test_odd_ids_are_ids_or_refused(rig: GateRig, path: str, status: int) -> None:
    """The attacker sends ids that are too long, hide a separator, or look like the table's own pattern."""
    connection = rig.connect()
    assert (await connection.request("POST", path, ALICE_KEY, b"")).status == status
    await connection.close()


async def test_ids_that_can_not_be_named_whole_name_nothing(rig: GateRig) -> None:
    """An id that was cut to 128 characters would be another's: it is not kept at all."""
    body = ONE_ROW.replace(b"{", b'{"id":"' + b"b" * 129 + b'",', 1)
    connection = rig.connect()
    headers = {**ALICE_KEY, "X-Request-ID": "h" * 129}
    assert (await connection.request("POST", "/v2/models/double/infer", headers, body)).status == 200
    assert rig.engine.requests[-1].client_ids == ()
    headers["X-Request-ID"] = "with a space"
    assert (await connection.request("POST", "/v2/models/double/infer", headers, WITH_ID)).status == 200
    assert rig.engine.requests[-1].client_ids == ("body-id",)
    await connection.close()


async def test_policy_is_asked_before(rig: GateRig) -> None:
    await cancelled(rig, "/v2/requests/x/cancel", ALICE_KEY)
    assert [action for action, _, _ in rig.policy.asked] == [Action.CANCEL]


@pytest.mark.parametrize("sent", [b"", ONE_ROW[:5]])
async def test_a_cancel_right_behind_the_head_finds_the_request(rig: GateRig, sent: bytes) -> None:
    """The body has not come yet: the engine knows no id of it, and the gate does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    lines = [f"POST {HANGS} HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 1000", "X-Request-ID: early"]
    lines += [f"{name}: {value}" for name, value in ALICE_KEY.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
    while not len(rig.under_way):  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0)
    assert await cancelled(rig, "/v2/requests/early/cancel", GUEST_KEY) == {"cancelled": 0}
    assert await cancelled(rig, "/v2/requests/early/cancel", ALICE_KEY) == {"cancelled": 1}
    assert (await asyncio.wait_for(reader.read(), 120)).startswith(b"HTTP/1.1 499")
    assert await cancelled(rig, "/v2/requests/early/cancel", ALICE_KEY) == {"cancelled": 0}
    assert (len(rig.under_way), rig.engine.open_permits) == (0, 0)
    record = next(event for event in rig.audit.events if event.action == "infer")
    assert (record.status, record.code, record.client_request_id) == (499, "cancelled", "early")
    writer.close()


async def test_what_the_engine_has_is_no_more_under_way(rig: GateRig) -> None:
    """So that a cancel counts each request once."""
    waiting = rig.connect()
    await waiting.send("POST", HANGS, {**ALICE_KEY, "X-Request-ID": "header-id"}, WITH_ID)
    await asyncio.wait_for(rig.engine.has_begun.wait(), 120)
    assert not len(rig.under_way)
    assert await cancelled(rig, "/v2/requests/header-id/cancel", ALICE_KEY) == {"cancelled": 1}
    await waiting.close()


async def test_two_of_one_id_go_together_and_others_stay(rig: GateRig) -> None:
    connections = [await asyncio.open_connection("127.0.0.1", rig.port) for _ in range(3)]
    for (_, writer), called in zip(connections, ("same", "same", "other"), strict=True):
        lines = [f"POST {HANGS} HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 1000", f"X-Request-ID: {called}"]
        lines += [f"{name}: {value}" for name, value in ALICE_KEY.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    while rig.engine.open_permits < 3:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0)
    assert await cancelled(rig, "/v2/requests/same/cancel", ALICE_KEY) == {"cancelled": 2}
    assert await cancelled(rig, "/v2/requests/other/cancel", ALICE_KEY) == {"cancelled": 1}
    for reader, writer in connections:
        assert (await asyncio.wait_for(reader.read(), 120)).startswith(b"HTTP/1.1 499")
        writer.close()
