"""The way of a request over a real socket: door, body, run, record, answer; each in its place."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.fakes.in_process_engine import describe_model, forever
from tests.rigs.gate_rig import ALICE_KEY, DOUBLE, GUEST_KEY, ONE_ROW, GateRig, gate_rig, served
from tests.rigs.http_connection import Answer

from torchgate.contract.decision import Action
from torchgate.contract.errors import Overloaded, QuotaExceeded, TorchgateError
from torchgate.contract.worker_limits import Enforcement


@pytest.fixture
async def rig() -> AsyncIterator[GateRig]:
    """The gate, listening."""
    async with served(gate_rig()) as rig:
        yield rig


async def ask(rig: GateRig, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    """One request on a connection of its own."""
    connection = rig.connect()
    try:
        return await connection.request(method, path, headers, body)
    finally:
        await connection.close()


async def test_an_answer_is_what_the_model_said_and_is_recorded_before_it_leaves(rig: GateRig) -> None:
    """The record has who, what, what was decided, and how it ended."""
    headers = {**ALICE_KEY, "X-Request-ID": "mine", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    answer = await ask(rig, "POST", DOUBLE, headers, ONE_ROW)
    assert answer.status == 200
    assert answer.json() == {
        "model_name": "double",
        "model_version": "1",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [3.0, -4.0]}],
    }
    (event,) = rig.audit.events
    assert (event.status, event.code, event.action, event.method, event.path) == (200, "", "infer", "POST", DOUBLE)
    assert event.principal is not None
    assert (event.principal.key, str(event.model), event.rows) == ("key:alice", "double:1", 1)
    assert (event.request_bytes, event.response_bytes) == (len(ONE_ROW), len(answer.body))
    assert event.decision is not None
    assert event.decision.rule == "rule"
    assert (event.request_id, event.client_request_id) == (answer.headers["x-request-id"], "mine")
    assert (event.trace_id, event.span_id, event.worker) == ("a" * 32, "b" * 16, "fake:1/0#1")
    assert rig.seen == [event]
    assert rig.engine.open_permits == 0


async def test_policy_is_asked_at_the_door_and_again_with_the_facts(rig: GateRig) -> None:
    """Both must allow; a refusal by facts runs no model."""
    rig.policy.max_rows = 0
    answer = await ask(rig, "POST", DOUBLE, ALICE_KEY, ONE_ROW)
    assert answer.status == 403
    assert [facts is None for _, _, facts in rig.policy.asked] == [True, False]
    assert rig.engine.requests == []
    assert rig.engine.open_permits == 0
    assert [event.status for event in rig.audit.events] == [403]


async def test_a_refused_caller_reserves_nothing(rig: GateRig) -> None:
    """No permit is asked for before identity and policy have allowed."""
    for headers in ({}, {"X-API-Key": "wrong"}, GUEST_KEY):
        assert (await ask(rig, "POST", DOUBLE, headers, ONE_ROW)).status in (401, 403)
    assert rig.engine.admissions == []
    assert [event.status for event in rig.audit.events] == [401, 401, 403]
    assert [event.credential_reason for event in rig.audit.events] == ["no_credential", "unknown key", ""]


async def test_without_a_record_there_is_no_answer(rig: GateRig) -> None:
    """The sink is down: 503 for everybody, nothing of the model's answer, and not ready."""
    rig.audit.is_available = False
    answer = await ask(rig, "POST", DOUBLE, ALICE_KEY, ONE_ROW)
    assert (answer.status, answer.json()["code"]) == (503, "audit_unavailable")
    assert b"outputs" not in answer.body
    assert "retry-after" in answer.headers
    assert [event.code for event in rig.seen] == ["audit_unavailable"]
    refused = await ask(rig, "POST", DOUBLE, {}, ONE_ROW)
    assert (refused.status, refused.json()["code"]) == (503, "audit_unavailable")
    ready = await ask(rig, "GET", "/v2/health/ready")
    assert (ready.status, ready.json()["ready"]) == (503, False)


async def test_a_sink_that_fails_in_an_unknown_way_also_keeps_the_answer(rig: GateRig) -> None:
    """Fail closed, whatever the trouble is."""
    rig.audit.failure = OSError("the inside of the disk")
    answer = await ask(rig, "POST", DOUBLE, ALICE_KEY, ONE_ROW)
    assert (answer.status, answer.json()["code"]) == (503, "audit_unavailable")
    assert b"inside" not in answer.body


async def test_what_nobody_foresaw_is_a_500_that_says_nothing(rig: GateRig) -> None:
    """The exception's text stays inside; the record says internal_error."""
    answer = await ask(rig, "POST", "/v2/models/fails/infer", ALICE_KEY, ONE_ROW)
    assert (answer.status, answer.json()["code"]) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert b"ZeroDivision" not in answer.body
    assert rig.engine.open_permits == 0


async def test_probes_are_counted_and_not_audited(rig: GateRig) -> None:
    """Live and ready take no credential, also none that is wrong."""
    assert (await ask(rig, "GET", "/v2/health/live", {"X-API-Key": "wrong"})).json() == {"live": True}
    assert (await ask(rig, "GET", "/v2/health/ready")).json() == {"ready": True}
    rig.engine.is_warm = False
    assert (await ask(rig, "GET", "/v2/health/ready")).status == 503
    assert (rig.audit.events, rig.keys.asked, len(rig.seen)) == ([], 0, 3)


async def test_an_installation_that_is_not_what_is_locked_is_not_ready_and_says_why(rig: GateRig) -> None:
    """Before warm-up is over and after it, to everybody who asks."""
    rig.engine.not_ready_reason = "the installation is not what torchgate.lock says: torch.version"
    for rig.engine.is_warm in (False, True):
        answer = await ask(rig, "GET", "/v2/health/ready")
        assert answer.status == 503
        reason = "Not ready: the installation is not what torchgate.lock says: torch.version."
        assert answer.json() == {"ready": False, "error": reason}


async def test_an_address_that_is_refused_too_often_is_counted_instead_of_audited(rig: GateRig) -> None:
    """429 with Retry-After; a caller who is proven is still served."""
    rig.refusals.left = 2
    statuses = [(await ask(rig, "GET", "/whoami")).status for _ in range(4)]
    assert statuses == [401, 401, 429, 429]
    assert (len(rig.audit.events), rig.refusals.excess) == (2, 2)
    assert (await ask(rig, "GET", "/whoami", ALICE_KEY)).status == 200


async def test_an_issuer_out_of_reach_is_no_refusal_of_the_caller(rig: GateRig) -> None:
    """503 with Retry-After, also beyond the bucket; then only counted."""
    rig.refusals.left = 1
    for _ in range(2):
        answer = await ask(rig, "GET", "/whoami", {"Authorization": "Bearer unreachable"})
        assert (answer.status, answer.headers["retry-after"]) == (503, "7")
        assert "www-authenticate" not in answer.headers
    assert len(rig.audit.events) == 1


async def test_a_client_that_goes_takes_its_request_back(rig: GateRig) -> None:
    """The run ends, its room is given back, the record says 499."""
    connection = rig.connect()
    await connection.send("POST", "/v2/models/hangs/infer", ALICE_KEY, ONE_ROW)
    await rig.engine.has_begun.wait()
    await connection.close()
    event = await rig.wait_event()
    assert (event.status, event.code) == (499, "cancelled")
    assert rig.audit.events == [event]
    assert rig.engine.open_permits == 0


async def test_a_client_that_goes_in_the_middle_of_its_body_is_recorded(rig: GateRig) -> None:
    """It holds nothing afterwards."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    head = f"POST {DOUBLE} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: alice-key\r\nContent-Length: 100\r\n\r\n"
    writer.write(head.encode() + b"{")
    await rig.engine.has_admitted.wait()
    writer.transport.abort()
    assert (await rig.wait_event()).status == 499
    assert rig.engine.open_permits == 0
    assert reader is not None


async def test_unknown_models_are_a_secret_unless_a_grant_covers_the_name(rig: GateRig) -> None:
    """404 where a grant covers the name; else the constant 403 of a forbidden model."""
    covered = await ask(rig, "POST", "/v2/models/nope/infer", ALICE_KEY, ONE_ROW)
    hidden = await ask(rig, "POST", "/v2/models/other/infer", ALICE_KEY, ONE_ROW)
    forbidden = await ask(rig, "POST", DOUBLE, GUEST_KEY, ONE_ROW)
    assert (covered.status, covered.json()["code"]) == (404, "unknown_model")
    assert (hidden.status, forbidden.status) == (403, 403)
    assert hidden.json()["error"] == forbidden.json()["error"]
    assert [event.model_name for event in rig.audit.events] == ["nope", "other", "double"]
    version = await ask(rig, "POST", "/v2/models/double/versions/9/infer", ALICE_KEY, ONE_ROW)
    assert version.status == 403  # the name is not covered here, although it exists


@pytest.mark.parametrize("name", ["..", "a..b", "a b", ".hidden", "a:b", "x" * 129, "é", "%2e%2e"])
async def test_names_that_no_model_can_have_are_never_looked_up(rig: GateRig, name: str) -> None:
    """The attacker tries to walk out of the repository by a name."""
    path = "/v2/models/" + name.replace(" ", "%20").replace("é", "%C3%A9") + "/infer"
    answer = await ask(rig, "POST", path, ALICE_KEY, ONE_ROW)
    assert answer.status in (400, 403)
    assert rig.engine.admissions == []


async def test_a_model_that_is_not_ready_says_so_in_both_places(rig: GateRig) -> None:
    """503, as the KServe client wants; its reason is for those who may read it."""
    answer = await ask(rig, "GET", "/v2/models/broken/ready", ALICE_KEY)
    assert (answer.status, answer.json()["ready"]) == (503, False)
    assert "weights" in answer.json()["error"]
    infer = await ask(rig, "POST", "/v2/models/broken/infer", ALICE_KEY, ONE_ROW)
    assert (infer.status, infer.json()["code"], infer.headers["retry-after"]) == (503, "model_not_ready", "3")


async def test_lists_show_what_the_caller_may_read_and_nothing_else(rig: GateRig) -> None:
    """A stranger learns no name, neither by index, nor by list, nor by statistics."""
    for method, path in (("POST", "/v2/repository/index"), ("GET", "/v2/models"), ("GET", "/v2/models/stats")):
        mine = await ask(rig, method, path, ALICE_KEY)
        theirs = await ask(rig, method, path, GUEST_KEY)
        assert (mine.status, theirs.status) == (200, 200)
        assert b"double" in mine.body
        assert b"double" not in theirs.body
    ready = await ask(rig, "POST", "/v2/repository/index", ALICE_KEY, b'{"ready":true}')
    assert {entry["name"] for entry in ready.json()} == {"double", "hangs", "fails"}
    for body in (b"[1]", b'{"ready":1}', b"{"):
        assert (await ask(rig, "POST", "/v2/repository/index", ALICE_KEY, body)).status == 400


async def test_the_index_says_how_the_limits_of_workers_are_held(rig: GateRig) -> None:
    held = (
        Enforcement("memory_bytes", "cgroup", "all together", 1 << 30),
        Enforcement("processors", "affinity", value=(0, 2)),
        Enforcement("processes", "", "no group", 4),
    )
    rig.engine.add(msgspec.structs.replace(describe_model("limited", (), ()), limits=held), forever)
    index = {entry["name"]: entry for entry in (await ask(rig, "POST", "/v2/repository/index", ALICE_KEY)).json()}
    assert "limits" not in index["double"]
    assert index["limited"]["limits"] == [
        {"limit": "memory_bytes", "value": 1 << 30, "enforced_by": "cgroup", "note": "all together"},
        {"limit": "processors", "value": [0, 2], "enforced_by": "affinity", "note": ""},
        {"limit": "processes", "value": 4, "enforced_by": None, "note": "no group"},
    ]


async def test_metadata_config_and_statistics_have_the_shapes_that_clients_read(rig: GateRig) -> None:
    """tritonclient and perf_analyzer ask for these."""
    metadata = (await ask(rig, "GET", "/v2/models/double", ALICE_KEY)).json()
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert metadata["versions"] == ["1"]
    config = (await ask(rig, "GET", "/v2/models/double/versions/1/config", ALICE_KEY)).json()
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}]
    assert config["max_batch_size"] == 8
    stats = (await ask(rig, "GET", "/v2/models/double/stats", ALICE_KEY)).json()
    assert stats["model_stats"][0]["inference_stats"]["success"] == {"count": 0, "ns": 0}
    assert (await ask(rig, "GET", "/v2", ALICE_KEY)).json()["name"] == "torchgate"
    assert (await ask(rig, "GET", "/metrics", ALICE_KEY)).body == b"a_metric 1\n"
    assert (await ask(rig, "GET", "/metrics", GUEST_KEY)).status == 403
    assert (await ask(rig, "GET", "/whoami", ALICE_KEY)).json()["roles"] == ["analyst"]
    assert "/v2/models/{model}/infer" in (await ask(rig, "GET", "/openapi.json", GUEST_KEY)).json()["paths"]


@pytest.mark.parametrize(("problem", "status"), [(QuotaExceeded("q", retry_after_s=2.2), 429), (Overloaded("o"), 503)])
async def test_no_room_is_told_before_the_body_is_read(rig: GateRig, problem: TorchgateError, status: int) -> None:
    """Own quota 429, server 503, both with Retry-After; the connection goes on."""

    async def no_room(*_: object) -> None:
        raise problem

    rig.engine.admit = no_room  # type: ignore[method-assign,assignment]
    connection = rig.connect()
    try:
        answer = await connection.request("POST", DOUBLE, ALICE_KEY, ONE_ROW)
        assert (answer.status, answer.headers["retry-after"]) == (status, "3" if status == 429 else "1")
        assert (await connection.request("GET", "/v2/health/live")).status == 200
    finally:
        await connection.close()


async def test_a_version_that_goes_between_decision_and_permit_is_decided_anew(rig: GateRig) -> None:
    """The default is another version now: policy is asked about that one, and it answers."""
    from torchgate.contract.errors import UnknownModel

    real, gone = rig.engine.admit, []

    async def admit(ref, principal, announced):  # type: ignore[no-untyped-def]
        if not gone:
            gone.append(ref)
            raise UnknownModel("gone")
        return await real(ref, principal, announced)

    rig.engine.admit = admit  # type: ignore[method-assign]
    answer = await ask(rig, "POST", DOUBLE, ALICE_KEY, ONE_ROW)
    assert answer.status == 200
    assert [facts is None for _, _, facts in rig.policy.asked] == [True, True, False]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_bodies_and_answers_are_compressed_as_announced(encoding: str) -> None:
    """Both directions, the client's choice."""
    rig = gate_rig()
    rig.settings = rig.settings.model_copy(update={"compress_from_bytes": 16})
    body = gzip.compress(ONE_ROW) if encoding == "gzip" else zlib.compress(ONE_ROW)
    async with served(rig):
        headers = {**ALICE_KEY, "Content-Encoding": encoding, "Accept-Encoding": f"br, {encoding};q=0.5"}
        answer = await ask(rig, "POST", DOUBLE, headers, body)
        plain = await ask(rig, "POST", DOUBLE, {**ALICE_KEY, "Accept-Encoding": "gzip;q=0.0"}, ONE_ROW)
    assert answer.headers["content-encoding"] == encoding
    text = gzip.decompress(answer.body) if encoding == "gzip" else zlib.decompress(answer.body)
    assert json.loads(text)["outputs"][0]["data"] == [3.0, -4.0]
    assert "content-encoding" not in plain.headers


async def test_the_earlier_of_two_wishes_is_the_deadline_and_no_wish_outlives_the_model(rig: GateRig) -> None:
    """V2 timeout in microseconds, our header in milliseconds, caps of server and model."""
    spans = []
    for parameters, header in (({"timeout": 5_000_000}, "2000"), ({"timeout": 1_000_000}, "2000"), ({}, "99999999")):
        body = json.dumps({**json.loads(ONE_ROW), "parameters": parameters}).encode()
        sent = rig.engine
        answer = await ask(rig, "POST", DOUBLE, {**ALICE_KEY, "X-Request-Timeout-Ms": header}, body)
        assert answer.status == 200
        spans.append(sent.requests[-1].deadline_at)
    first, second, third = spans
    assert second < first
    assert 50 < third - first < 70
    for bad in ("0", "-1", "1.5", "abc", "", "9" * 13):
        answer = await ask(rig, "POST", DOUBLE, {**ALICE_KEY, "X-Request-Timeout-Ms": bad}, ONE_ROW)
        assert answer.status == 400, bad


async def test_parts_that_are_not_offered_say_so_to_those_who_may_ask(rig: GateRig) -> None:
    """501, and no extension list claims them."""
    for method, path in (
        ("GET", "/v2/systemsharedmemory/status"),
        ("POST", "/v2/cudasharedmemory/region/x/register"),
        ("GET", "/v2/trace/setting"),
        ("POST", "/v2/logging"),
        ("POST", "/v2/models/double/generate"),
    ):
        assert (await ask(rig, method, path, ALICE_KEY, b"{}")).status == 501, path
        assert (await ask(rig, method, path, {}, b"{}")).status == 401, path
    assert (await ask(rig, "POST", "/v2/repository/models/double/load", GUEST_KEY)).status == 403


async def test_wrong_method_and_wrong_path_are_told_to_known_callers_alone(rig: GateRig) -> None:
    """405 with Allow, 404; a stranger gets 401 for both."""
    wrong = await ask(rig, "DELETE", "/v2/models/double", ALICE_KEY)
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD")
    assert (await ask(rig, "GET", "/v2/", ALICE_KEY)).status == 404
    assert (await ask(rig, "GET", "/nothing")).status == 401
    assert (await ask(rig, "DELETE", "/v2")).status == 401
    assert (await ask(rig, "POST", "/v2/health/live")).status == 405
    assert [event.action for event in rig.audit.events] == ["", "", "", ""]


async def test_every_action_that_is_asked_is_one_of_the_table(rig: GateRig) -> None:
    """What policy is asked for a read is read, for an inference infer."""
    await ask(rig, "GET", "/v2/models/double", ALICE_KEY)
    await ask(rig, "POST", DOUBLE, ALICE_KEY, ONE_ROW)
    assert [action for action, _, _ in rig.policy.asked] == [Action.READ, Action.INFER, Action.INFER]
