"""Callers' tokens at the gate: when one is kept, to whom it goes, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import sys

import msgspec
import pytest
from tests.fakes.in_process_engine import InProcessEngine, describe_model, forever
from tests.rigs.gate_rig import ALICE, ALICE_KEY, ONE_ROW, GateRig, double, gate_rig, served
from tests.rigs.handle_tables import FakeTable, HandleTable

from torchgate.contract.caller_tokens import CallerToken
from torchgate.contract.decision import Action
from torchgate.contract.inference import InferenceRequest
from torchgate.contract.tensors import TensorSpec
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.door_parts import DoorNeighbours, front_door_parts
from torchgate.gate.front_door import FrontDoor
from torchgate.gate.marked_paths import MarkedPaths
from torchgate.gate.settings import GateSettings

if sys.platform == "win32":
    from tests.rigs.handle_tables import RealTable

    TABLES = [FakeTable, RealTable]
else:
    TABLES = [FakeTable]

PAIRING = {"MS-ASPNETCORE-TOKEN": "a-token"}
TOKEN = "MS-ASPNETCORE-WINAUTHTOKEN"
RIGHTS = "/v2/models/rights/infer"
WAITS = "/v2/models/waits/infer"
PLAIN = "/v2/models/double/infer"


@pytest.fixture(params=TABLES)
def table(request) -> HandleTable:
    return request.param()


class Behind:
    """A gate behind ASP.NET Core Module, with a model that acts with its callers' rights."""

    def __init__(self, table: HandleTable, *, allowed: bool = True) -> None:
        self.table = table
        self.rig: GateRig = gate_rig()
        self.seen: list[tuple[str, bool, CallerToken | None]] = []
        engine = self.rig.engine
        specs = (TensorSpec("x", "FP32", (2,)),), (TensorSpec("y", "FP32", (2,)),)
        for name, function in (("rights", self._notes), ("waits", forever)):
            engine.add(msgspec.structs.replace(describe_model(name, *specs), impersonates=True), function)
        engine.add(describe_model("double", *specs), self._notes)
        neighbours = DoorNeighbours(
            tokens=table.tokens,
            windows_paths=MarkedPaths(["/v2"]),
            wants_rights=lambda: allowed and any(model.impersonates for model in engine.models()),
        )
        parts = front_door_parts(GateSettings(front_door="ancm"), {"ASPNETCORE_TOKEN": "a-token"}, neighbours)
        self.rig.door = FrontDoor(FRONT_DOORS["ancm"], parts=parts)
        self.rig.keys.principals[table.own_sid] = ALICE

    async def _notes(self, request: InferenceRequest, inputs):
        token = request.token
        self.seen.append((request.principal.key, token is not None and token.is_open, token))
        return await double(request, inputs)

    async def ask(self, path: str, headers: dict[str, str], body: bytes = ONE_ROW) -> tuple[int, str]:
        """Status and code of one inference."""
        connection = self.rig.connect()
        try:
            answer = await connection.request("POST", path, {**PAIRING, **headers}, body)
        finally:
            await connection.close()
        return answer.status, msgspec.json.decode(answer.body).get("code", "")

    def token(self) -> dict[str, str]:
        """The header of a fresh one."""
        return {TOKEN: f"{self.table.token():x}"}


async def test_a_model_that_needs_its_callers_rights_is_given_them_for_its_request(table: HandleTable):
    behind, before = Behind(table), table.count()
    async with served(behind.rig):
        assert await behind.ask(RIGHTS, behind.token()) == (200, "")
    ((key, was_open, token),) = behind.seen
    assert (key, was_open) == (ALICE.key, True)
    assert not token.is_open
    assert table.count() <= before + 3


async def test_no_other_model_sees_a_token(table: HandleTable):
    behind = Behind(table)
    async with served(behind.rig):
        assert (await behind.ask(PLAIN, behind.token()))[0] == 200
    assert [was_open for _, was_open, _ in behind.seen] == [False]


@pytest.mark.parametrize("why", ["the operator has not allowed it", "no such model is served"])
async def test_nothing_is_kept_where_nobody_asks(table: HandleTable, why: str):
    behind = Behind(table, allowed=why != "the operator has not allowed it")
    if why == "no such model is served":
        engine: InProcessEngine = behind.rig.engine
        engine.descriptions = {ref: one for ref, one in engine.descriptions.items() if not one.impersonates}
    async with served(behind.rig):
        assert (await behind.ask(PLAIN, behind.token()))[0] == 200
    assert [token for _, _, token in behind.seen] == [None]


@pytest.mark.identity_case("ancm, impersonation", "another credential, for a model that needs a token", "403")
async def test_who_brings_no_token_is_refused_before_the_body_is_read(table: HandleTable):
    behind = Behind(table)
    async with served(behind.rig):
        assert await behind.ask(RIGHTS, ALICE_KEY, b"no body that anybody could read") == (403, "no_caller_token")
        event = await behind.rig.wait_event()
    assert (event.code, event.principal) == ("no_caller_token", ALICE)
    assert not behind.rig.engine.admissions


@pytest.mark.parametrize("level", ["identification"])
async def test_a_token_that_only_names_its_user_gives_no_rights(table: HandleTable, level):
    behind = Behind(table)
    async with served(behind.rig):
        for path, answer in ((RIGHTS, (403, "no_caller_token")), (PLAIN, (200, ""))):
            assert await behind.ask(path, {TOKEN: f"{table.token(level):x}"}) == answer


async def test_who_may_not_call_the_model_learns_nothing_of_what_it_needs(table: HandleTable):
    behind = Behind(table)
    behind.rig.policy.allowed -= {(ALICE.key, Action.INFER)}
    async with served(behind.rig):
        assert await behind.ask(RIGHTS, behind.token()) == (403, "forbidden")
        assert await behind.ask(RIGHTS, ALICE_KEY) == (403, "forbidden")


@pytest.mark.identity_case("ancm, impersonation", "the handle of another request's kept token", "401, left open")
async def test_a_kept_token_can_be_named_by_no_header(table: HandleTable):
    """The attacker, whom IIS knows, guesses the number of a token that we keep for somebody else's request."""
    behind = Behind(table)
    async with served(behind.rig):
        waiting = asyncio.create_task(behind.ask(WAITS, behind.token()))
        await asyncio.wait_for(behind.rig.engine.has_begun.wait(), 120)
        token = behind.rig.engine.requests[0].token
        number = table.number_of(token)
        for named in range(number, number + 4):
            assert await behind.ask(PLAIN, {TOKEN: f"{named:x}"}) == (401, "rejected_credential")
        assert token.is_open
        assert table.is_open(number)
        waiting.cancel()
        await asyncio.wait([waiting])
        await behind.rig.wait_event()
    assert not token.is_open


async def test_no_way_that_a_request_can_end_leaves_a_token_open(table: HandleTable):
    behind = Behind(table)
    header = {"MS-ASPNETCORE-CLIENTCERT": "no certificate"}
    async with served(behind.rig):
        before: int | None = None
        for turn in range(20):
            for path, more, body in (
                (RIGHTS, {}, ONE_ROW),
                (RIGHTS, {}, b"{"),
                (RIGHTS, {"Host": "evil.example"}, ONE_ROW),
                (RIGHTS, {"X-API-Key": "second"}, ONE_ROW),
                (RIGHTS, {"Origin": "https://evil.example"}, ONE_ROW),
                (RIGHTS, header, ONE_ROW),
                (PLAIN, {}, ONE_ROW),
                ("/v2/models/nope/infer", {}, ONE_ROW),
                ("/v2/%2576", {}, ONE_ROW),
                ("/nowhere", {}, ONE_ROW),
            ):
                await behind.ask(path, {**behind.token(), **more}, body)
            if turn == 4:
                before = table.count()
        assert before is not None
        assert table.count() <= before + 5  # the loop's own come and go; 150 requests would have left 150
    assert not any(token is not None and token.is_open for _, _, token in behind.seen)
