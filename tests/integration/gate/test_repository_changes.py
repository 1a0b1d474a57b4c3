"""Load and unload over HTTP, as clients of the protocol call them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.fakes.in_process_engine import describe_model
from tests.rigs.gate_rig import ALICE, ALICE_KEY, GUEST, GUEST_KEY, GateRig, double, gate_rig, served
from tests.rigs.http_connection import Answer

from torchgate.contract.audit_event import RequestEvent
from torchgate.contract.decision import Action, ModelRef
from torchgate.contract.errors import Conflict, LoadFailed, ModelNotReady
from torchgate.contract.tensors import TensorSpec

LOAD = "/v2/repository/models/double/load"
UNLOAD = "/v2/repository/models/double/unload"
SPECS = (TensorSpec("x", "FP32", (2,)),), (TensorSpec("y", "FP32", (2,)),)


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[GateRig]:
    async with served(gate_rig()) as rig:
        yield rig


async def post(rig: GateRig, path: str, body: bytes = b"", key: dict[str, str] = ALICE_KEY) -> Answer:
    connection = rig.connect()
    try:
        return await connection.request("POST", path, key, body)
    finally:
        await connection.close()


async def test_a_load_says_what_came_of_it_and_for_whom_it_was(rig: GateRig):
    answer = await post(rig, LOAD, b'{"parameters": {}}')
    assert (answer.status, answer.json()) == (
        200,
        {"name": "double", "loaded": ["1"], "unchanged": [], "unloaded": [], "default": "1"},
    )
    assert rig.engine.changes == [("load", "double", None, "key:alice", False)]
    event = rig.audit.events[-1]
    assert isinstance(event, RequestEvent)
    assert (event.action, event.model, event.status) == ("load", ModelRef("double", "1"), 200)
    assert event.principal == ALICE


async def test_one_version_and_force_can_be_asked_for(rig: GateRig):
    await post(rig, "/v2/repository/models/double/versions/1/load", b'{"parameters": {"force": true}}')
    await post(rig, "/v2/repository/models/double/versions/1/unload", b'{"parameters": {"unload_dependents": true}}')
    assert rig.engine.changes == [
        ("load", "double", "1", "key:alice", True),
        ("unload", "double", "1", "key:alice", False),
    ]


async def test_a_model_that_has_only_come_to_lie_in_the_repository_can_be_loaded(rig: GateRig):
    rig.engine.repository["fresh"] = (describe_model("fresh", *SPECS), double)
    assert (await post(rig, "/v2/repository/models/fresh/load")).status == 200
    event = rig.audit.events[-1]
    assert isinstance(event, RequestEvent)
    assert event.model == ModelRef("fresh", "1")
    assert event.model_digest.startswith("sha256:"), "the record has the digest of what serves now"


async def test_an_unknown_model_is_404_for_those_who_may_and_403_for_others(rig: GateRig):
    assert (await post(rig, "/v2/repository/models/absent/load")).status == 404
    assert (await post(rig, "/v2/repository/models/nope/unload")).status == 404
    for verb in ("load", "unload"):
        forbidden = await post(rig, f"/v2/repository/models/absent/{verb}", key=GUEST_KEY)
        known = await post(rig, f"/v2/repository/models/double/{verb}", key=GUEST_KEY)
        assert (forbidden.status, forbidden.json()["error"]) == (known.status, known.json()["error"])
        assert forbidden.status == 403
    assert [change[1] for change in rig.engine.changes] == ["absent"], "a refused caller reaches no repository"


@pytest.mark.parametrize("name", ["a%2e%2e", "..x..", "-x", "x" * 200, "a b"])
async def test_a_name_that_no_model_can_have_reaches_no_repository(rig: GateRig, name: str):
    answer = await post(rig, f"/v2/repository/models/{name}/load")
    assert answer.status in (400, 403, 404)
    assert rig.engine.changes == []


async def test_who_may_infer_may_not_load(rig: GateRig):
    rig.policy.allowed = {(ALICE.key, Action.INFER), (ALICE.key, Action.READ), (ALICE.key, Action.UNLOAD)}
    assert (await post(rig, LOAD)).status == 403
    assert (await post(rig, UNLOAD)).status == 200
    assert (await post(rig, LOAD, key={})).status == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"parameters": {"config": "{}"}}', 501),
        (b'{"parameters": {"file:1/model.pt": "aGFsbG8="}}', 501),
        (b'{"parameters": {"surprise": 1}}', 400),
        (b'{"parameters": {"force": "yes"}}', 400),
        (b'{"parameters": []}', 400),
        (b'{"other": {}}', 400),
        (b"[]", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b" " * 70_000, 413),
    ],
)
async def test_a_load_takes_no_settings_no_files_and_no_nonsense(rig: GateRig, body: bytes, status: int):
    answer = await post(rig, LOAD, body)
    assert (answer.status, rig.engine.changes) == (status, [])


async def test_a_failed_load_tells_its_reason_to_readers_alone(rig: GateRig):
    rig.engine.change_error = LoadFailed("double:2 could not be loaded.", detail="version 2: golden.json differs")
    answer = await post(rig, LOAD)
    assert (answer.status, answer.json()["code"]) == (500, "load_failed")
    assert "golden.json differs" in answer.json()["error"]
    rig.policy.allowed = {(ALICE.key, Action.LOAD)}
    assert "golden" not in (await post(rig, LOAD)).json()["error"]


async def test_a_second_change_at_once_is_a_conflict(rig: GateRig):
    rig.engine.change_error = Conflict("Model 'double' is being loaded already.")
    assert (await post(rig, LOAD)).status == 409
    assert (await post(rig, UNLOAD)).status == 409


async def test_a_request_whose_version_went_meanwhile_is_decided_anew(rig: GateRig):
    """The bare name means another version by the time that the engine is asked for room."""
    second = describe_model("double", *SPECS, version="2")
    rig.engine.add(second, double)
    original = rig.engine.admit

    async def admit(ref, principal, announced_bytes):  # type: ignore[no-untyped-def]
        if ref.version == "2":
            del rig.engine.descriptions[ref]
            raise ModelNotReady("Model 'double' version '2' is unloading.")
        return await original(ref, principal, announced_bytes)

    rig.engine.admit = admit  # type: ignore[method-assign]
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}).encode()
    answer = await post(rig, "/v2/models/double/infer", body)
    assert (answer.status, answer.json()["model_version"]) == (200, "1")
    answer = await post(rig, "/v2/models/double/versions/2/infer", body)
    assert answer.status in (403, 404)


async def test_the_extension_is_listed_and_the_index_names_the_default(rig: GateRig):
    connection = rig.connect()
    metadata = (await connection.request("GET", "/v2", ALICE_KEY)).json()
    await connection.close()
    assert {"model_repository", "model_repository(unload_dependents)"} <= set(metadata["extensions"])


async def test_the_guest_is_no_principal_of_a_change(rig: GateRig):
    rig.policy.allowed.add((GUEST.key, Action.UNLOAD))
    await post(rig, UNLOAD, key=GUEST_KEY)
    assert rig.engine.changes == [("unload", "double", None, "key:guest", False)]
