"""A gate around an application: what reaches it, what it may see, what leaves it, and what is written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy
import pytest
from tests.rigs.asgi_client import ask
from tests.rigs.gate_rig import ALICE, ALICE_KEY, GUEST_KEY, GateRig, gate_rig

import torchgate
from torchgate.gate.asgi import GateApp, Receive, Scope, Send
from torchgate.gate.carriers import IisCarrier
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.front_door import DoorParts, FrontDoor
from torchgate.gate.marked_paths import MarkedPaths
from torchgate.gate.mounted import Guard, OpenGate, secret_headers
from torchgate.gate.proofs import PairingProof
from torchgate.gate.public_paths import PublicPaths

WAIT_S = 60.0
PUBLIC = PublicPaths(["/about", "/static/*"])


class Inner:
    """The user's application: keeps what it saw, and does what the test wants."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.route: Callable[[Scope, Receive, Send], Any] = _hello

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await self.route(scope, receive, send)


async def _say(send: Send, status: int, body: bytes, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    await _say(send, 200, b"hello")


def _guarded(rig: GateRig, *, own_server: bool = False, **more: Any) -> tuple[Guard, Inner]:
    inner, app = Inner(), GateApp(rig.services())
    opened = OpenGate(app, secret_headers(app.front_door, "X-Proxy-Secret"), own_server)
    return Guard(inner, lambda: opened, _nothing, PUBLIC, **more), inner


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


@pytest.fixture
def rig() -> GateRig:
    return gate_rig()


@pytest.mark.identity_case("mounted application", "no credential, a route that is not public", "401")
async def test_without_a_credential_no_route_is_reached(rig: GateRig):
    """The application never runs, and the refusal is audited."""
    guard, inner = _guarded(rig)
    answer = await ask(guard, path="/private")
    assert answer.status == 401
    assert inner.scopes == []
    assert [(event.status, event.path) for event in rig.audit.events] == [(401, "/private")]


async def test_a_proven_caller_reaches_the_route_and_is_in_its_scope(rig: GateRig):
    """The same caller as torchgate.caller() gives; one event with principal and path."""
    guard, inner = _guarded(rig)
    seen: list[torchgate.Caller] = []

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(torchgate.caller())
        await _hello(scope, receive, send)

    inner.route = route
    answer = await ask(guard, path="/private", headers=ALICE_KEY)
    assert (answer.status, answer.body) == (200, b"hello")
    assert inner.scopes[0]["torchgate"] is seen[0]
    assert seen[0].principal == ALICE
    [event] = rig.audit.events
    assert (event.path, event.status, event.principal, event.action) == ("/private", 200, ALICE, "")
    assert answer.header("x-request-id") == [event.request_id] == [seen[0].request_id]


@pytest.mark.parametrize("path", ["/about", "/static/a.css", "/static/a/b"])
async def test_a_public_path_needs_nobody_and_has_no_caller(rig: GateRig, path: str):
    """Nobody is asked who they are, even where they say so; nothing is audited, all is counted."""
    guard, inner = _guarded(rig)
    assert (await ask(guard, path=path, headers={"X-API-Key": "nonsense"})).status == 200
    assert "torchgate" not in inner.scopes[0]
    assert rig.audit.events == []
    assert [event.path for event in rig.seen] == [path]


@pytest.mark.identity_case("mounted application", "a public path spelt in another way", "401 or 400")
@pytest.mark.parametrize(
    ("path", "raw_path", "status"),
    [
        ("/About", b"/About", 401),
        ("/about/", b"/about/", 401),
        ("//about", b"//about", 401),
        ("/static", b"/static", 401),
        ("/static/../private", b"/static/../private", 401),
        ("/static/./x", b"/static/./x", 401),
        ("/static/..\\private", b"/static/..\\private", 401),
        ("/static/../private", b"/static/%2e%2e/private", 401),
        ("/static/../private", b"/static/..%2fprivate", 401),
        ("/static/%2e%2e/private", b"/static/%252e%252e/private", 401),
        ("/private", b"/about", 400),
        ("/about", b"/private", 401),
    ],
)
async def test_another_spelling_of_a_public_path_is_not_public(rig: GateRig, path: str, raw_path: bytes, status: int):
    """Compared byte for byte, after one decoding; what the application would read otherwise is refused."""
    guard, inner = _guarded(rig)
    answer = await ask(guard, path=path, raw_path=raw_path)
    assert answer.status == status
    assert inner.scopes == []


async def test_what_a_path_says_in_two_ways_reaches_no_route_even_with_a_credential(rig: GateRig):
    """A server that decodes otherwise than we do can't have one path examined and another one answered."""
    guard, inner = _guarded(rig)
    answer = await ask(guard, path="/other", raw_path=b"/private", headers=ALICE_KEY)
    assert answer.status == 400
    assert inner.scopes == []
    assert [event.status for event in rig.audit.events] == [400]


async def test_on_a_public_path_the_caller_is_asked_for_in_vain(rig: GateRig):
    """A route that needs somebody fails closed where its author has called it public by mistake."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        torchgate.caller()

    inner.route = route
    assert (await ask(guard, path="/about", headers=ALICE_KEY)).status == 401


async def test_outside_of_a_request_there_is_no_caller():
    """And it says why."""
    with pytest.raises(RuntimeError, match="nobody asks"):
        torchgate.caller()
    with pytest.raises(RuntimeError, match="nobody asks"):
        torchgate.blocking_caller()


async def test_paths_of_ours_are_answered_by_us_and_not_by_the_application(rig: GateRig):
    """All but /openapi.json, which the application describes itself with."""
    guard, inner = _guarded(rig)
    assert (await ask(guard, path="/v2/models", headers=ALICE_KEY)).json()["models"]
    assert (await ask(guard, path="/v2/health/live")).status == 200
    assert (await ask(guard, path="/whoami", headers=ALICE_KEY)).json()["name"] == "alice"
    assert (await ask(guard, "DELETE", "/v2/models", headers=ALICE_KEY)).status == 405
    assert inner.scopes == []
    assert (await ask(guard, path="/openapi.json", headers=ALICE_KEY)).body == b"hello"
    assert (await ask(guard, path="/openapi.json")).status == 401


async def test_a_failing_route_tells_nothing_and_is_audited(rig: GateRig):
    """500 with a request id."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("a secret of the inside")

    inner.route = route
    answer = await ask(guard, path="/private", headers=ALICE_KEY)
    assert (answer.status, answer.json()["code"]) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert [(event.status, event.code) for event in rig.audit.events] == [(500, "internal_error")]


async def test_a_page_that_shows_the_insides_before_it_raises_does_not_leave(rig: GateRig):
    """As frameworks in debugging do: they answer 500 with a traceback and raise then."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await _say(send, 500, b"Traceback: a secret of the inside")
        raise torchgate.Forbidden("no")

    inner.route = route
    answer = await ask(guard, path="/private", headers=ALICE_KEY)
    assert (answer.status, answer.json()["code"]) == (403, "forbidden")
    assert b"secret" not in answer.body


async def test_a_500_of_the_applications_own_leaves_as_it_is(rig: GateRig):
    """When it returns without raising."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await _say(send, 503, b"closed on Sundays", [(b"X-Request-ID", b"mine")])

    inner.route = route
    answer = await ask(guard, path="/private", headers=ALICE_KEY)
    assert (answer.status, answer.body) == (503, b"closed on Sundays")
    assert answer.header("x-request-id") == [rig.audit.events[0].request_id]


async def test_an_application_that_answers_nothing_is_500(rig: GateRig):
    """And not a connection that hangs."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    inner.route = route
    assert (await ask(guard, path="/private", headers=ALICE_KEY)).status == 500


async def test_an_answer_that_cant_be_recorded_does_not_leave(rig: GateRig):
    """503 in its place, and nothing of what the route streams after."""
    guard, inner = _guarded(rig)
    rig.audit.is_available = False

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"secret", "more_body": True})
        await send({"type": "http.response.body", "body": b"more secret"})

    inner.route = route
    answer = await ask(guard, path="/private", headers=ALICE_KEY)
    assert (answer.status, answer.json()["code"]) == (503, "audit_unavailable")
    assert b"secret" not in answer.body


async def test_a_stream_leaves_part_by_part_after_one_record(rig: GateRig):
    """The record is written before the first part; what comes after it is not held."""
    guard, inner = _guarded(rig)
    recorded: list[int] = []

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"a", b"b"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
            recorded.append(len(rig.audit.events))
        await send({"type": "http.response.body", "body": b""})

    inner.route = route
    answer = await ask(guard, path="/private", headers=ALICE_KEY)
    assert answer.parts == [b"a", b"b", b""]
    assert recorded == [1, 1]


async def test_a_failure_in_the_middle_of_a_stream_breaks_it(rig: GateRig):
    """The server is told, so that the client does not take half an answer for a whole one."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise ZeroDivisionError("a secret")

    inner.route = route
    with pytest.raises(ZeroDivisionError):
        await ask(guard, path="/private", headers=ALICE_KEY)
    assert len(rig.audit.events) == 1


@pytest.mark.identity_case("mounted application", "a WebSocket, with a good credential", "501, audited")
@pytest.mark.parametrize(("headers", "status"), [(ALICE_KEY, 501), ({}, 401)])
async def test_a_websocket_is_refused(rig: GateRig, headers: dict[str, str], status: int):
    """With a reason where the server can give one; audited under its own method."""
    guard, inner = _guarded(rig)
    scope = {"type": "websocket", "extensions": {"websocket.http.response": {}}}
    answer = await ask(_without_method(guard), path="/private", headers=headers, **scope)
    assert answer.status == status
    assert [message["type"] for message in answer.messages] == [
        "websocket.http.response.start", "websocket.http.response.body",
    ]  # fmt: skip
    answer = await ask(_without_method(guard), path="/v2/models", headers=headers, type="websocket")
    assert [message["type"] for message in answer.messages] == ["websocket.close"]
    assert inner.scopes == []
    assert [event.method for event in rig.audit.events] == ["WEBSOCKET", "WEBSOCKET"]


def _without_method(guard: Guard) -> Any:
    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        del scope["method"]
        await guard(scope, receive, send)

    return call


async def test_the_application_sees_no_credential_and_no_proof_of_the_front_door(rig: GateRig):
    """What it could show to somebody by mistake is not there; on public paths its callers' own headers are."""
    rig.door = FrontDoor(FRONT_DOORS["ancm"], parts=DoorParts(proof=PairingProof("secret")))
    guard, inner = _guarded(rig)
    sent = {**ALICE_KEY, "MS-ASPNETCORE-TOKEN": "secret", "X-Proxy-Secret": "s", "X-Mine": "1"}
    assert (await ask(guard, path="/private", headers=sent)).status == 200
    assert {name for name, _ in inner.scopes[0]["headers"]} == {b"host", b"x-mine"}
    await ask(guard, path="/about", headers={"Authorization": "Webhook x", "MS-ASPNETCORE-TOKEN": "secret"})
    assert {name for name, _ in inner.scopes[1]["headers"]} == {b"host", b"authorization"}
    guard, inner = _guarded(rig, passes_credentials=True)
    await ask(guard, path="/private", headers=sent)
    assert {name for name, _ in inner.scopes[0]["headers"]} == {b"host", b"x-api-key", b"x-mine"}


@pytest.mark.identity_case("mounted application", "no pairing token, a public path behind IIS", "400")
async def test_without_the_front_doors_proof_not_even_a_public_path_is_reached(rig: GateRig):
    """The same proof as anywhere, and the stop with it."""
    rig.door = FrontDoor(FRONT_DOORS["ancm"], parts=DoorParts(proof=PairingProof("secret")))
    guard, inner = _guarded(rig)
    assert (await ask(guard, path="/about")).status == 400
    assert (await ask(guard, path="/about", headers={"MS-ASPNETCORE-TOKEN": "other"})).status == 400
    assert inner.scopes == []
    stop = {"MS-ASPNETCORE-EVENT": "shutdown"}
    assert (await ask(guard, "POST", "/iisintegration", headers=stop)).status == 400
    assert rig.stops == 0
    stop["MS-ASPNETCORE-TOKEN"] = "secret"
    assert (await ask(guard, "POST", "/iisintegration", headers=stop)).status == 202
    assert rig.stops == 1


@pytest.mark.parametrize(
    ("root_path", "path", "raw_path"),
    [
        ("", "/shop/private", b"/shop/private"),
        ("", "/SHOP/private", b"/SHOP/private"),
        ("/outer", "/outer/shop/private", b"/outer/shop/private"),
        ("/outer", "/shop/private", b"/shop/private"),
    ],
)
async def test_below_the_path_of_iis_the_application_knows_where_it_is(
    rig: GateRig, root_path: str, path: str, raw_path: bytes
):
    """root_path and path as ASGI has them: the one is the beginning of the other."""
    parts = DoorParts(proof=PairingProof("secret"), base_path=b"/shop")
    rig.door = FrontDoor(FRONT_DOORS["ancm"], parts=parts)
    guard, inner = _guarded(rig)
    sent = {**ALICE_KEY, "MS-ASPNETCORE-TOKEN": "secret"}
    assert (await ask(guard, path=path, raw_path=raw_path, root_path=root_path, headers=sent)).status == 200
    scope = inner.scopes[0]
    assert scope["path"] == scope["root_path"] + "/private"
    assert scope["root_path"].lower() == f"{root_path}/shop"
    assert rig.audit.events[0].path == "/private"


async def test_the_root_below_the_path_of_iis(rig: GateRig):
    """With and without the slash."""
    rig.door = FrontDoor(FRONT_DOORS["ancm"], parts=DoorParts(proof=PairingProof("secret"), base_path=b"/shop"))
    guard, inner = _guarded(rig)
    for path in ("/shop", "/shop/"):
        sent = {**ALICE_KEY, "MS-ASPNETCORE-TOKEN": "secret"}
        assert (await ask(guard, path=path, headers=sent)).status == 200
    assert [(scope["root_path"], scope["path"]) for scope in inner.scopes] == [("/shop", "/shop/")] * 2


async def test_mounted_in_another_application_paths_count_from_there(rig: GateRig):
    """As Starlette's Mount says it: root_path grows, path and raw_path stay."""
    guard, inner = _guarded(rig)
    for path, raw_path, root_path in (
        ("/api/about", b"/api/about", "/api"),
        ("/api/about", b"/%61pi/about", "/api"),
        ("/apix/about", b"/apix/about", "/api"),
    ):
        await ask(guard, path=path, raw_path=raw_path, root_path=root_path)
    assert [scope["path"] for scope in inner.scopes] == ["/api/about"]


@pytest.mark.identity_case("mounted application", "a scope that pretends to be examined already", "401")
async def test_what_somebody_put_into_the_scope_before_counts_for_nothing(rig: GateRig):
    """Neither a caller of another gate, nor on a public path."""
    guard, inner = _guarded(rig)
    assert (await ask(guard, path="/private", torchgate="alice")).status == 401
    assert (await ask(guard, path="/about", torchgate="alice")).status == 200
    assert "torchgate" not in inner.scopes[0]


async def test_a_second_guard_of_the_same_gate_lets_through_what_the_first_has_examined(rig: GateRig):
    """As where a guarded application is served by gate.serve; one record, and still no way in from elsewhere."""
    guard, inner = _guarded(rig)
    outer = Guard(guard, guard._opened, _nothing, PUBLIC)
    assert (await ask(outer, path="/private", headers=ALICE_KEY)).status == 200
    assert (await ask(outer, path="/about")).status == 200
    assert len(rig.audit.events) == 1
    used = inner.scopes[0]
    assert (await ask(guard, path="/private", **{key: used[key] for key in used if "torchgate" in key})).status == 401

    async def asks_itself(scope: Scope, receive: Receive, send: Send) -> None:
        again = {**scope, "path": "/other", "raw_path": b"/other"}
        del again["torchgate.visit"]
        inner.route = _hello
        await guard(again, receive, send)

    inner.route = asks_itself
    assert (await ask(outer, path="/private", headers=ALICE_KEY)).status == 401


async def test_extensions_of_the_server_end_at_the_guard(rig: GateRig):
    """An answer that is sent by another message than a body would go past its record."""
    guard, inner = _guarded(rig)
    await ask(guard, path="/private", headers=ALICE_KEY, extensions={"http.response.pathsend": {}, "tls": {"x": 1}})
    assert inner.scopes[0]["extensions"] == {"tls": {"x": 1}}


@pytest.mark.parametrize(
    ("scope", "headers", "peer"),
    [
        ({}, {}, "127.0.0.1"),
        ({"client": ("10.0.0.9", 0)}, {"X-Forwarded-For": "10.0.0.9"}, "forwarded"),
        ({"client": None}, {}, "unknown"),
        ({"client": None, "server": ("/run/app.sock", None)}, {}, "unix"),
        ({"client": None, "server": None}, {}, "unix"),
    ],
)
async def test_a_peer_that_a_server_took_from_a_header_is_none(
    rig: GateRig, scope: dict[str, Any], headers: dict[str, str], peer: str
):
    """uvicorn believes X-Forwarded-For of this machine unless it is told not to."""
    guard, _ = _guarded(rig)
    await ask(guard, path="/private", headers={**ALICE_KEY, **headers}, **scope)
    assert rig.audit.events[0].peer == peer


@pytest.mark.identity_case("development", "a caller on another machine, by another's server on all addresses", "400")
async def test_development_identities_count_on_this_machine_alone(rig: GateRig):
    """Whatever address another's server listens on."""
    rig.door = FrontDoor(FRONT_DOORS["direct"], is_development=True)
    guard, inner = _guarded(rig)
    answer = await ask(guard, path="/private", headers=ALICE_KEY, client=("192.0.2.7", 5000))
    assert answer.status == 400
    assert inner.scopes == []
    assert (await ask(guard, path="/private", headers=ALICE_KEY)).status == 200


async def test_an_application_that_was_not_started_answers_503_and_says_why(
    rig: GateRig, caplog: pytest.LogCaptureFixture
):
    """Where the server sends no lifespan."""
    inner = Inner()
    guard = Guard(inner, lambda: None, _nothing, PUBLIC)
    assert (await ask(guard, path="/about")).status == 503
    assert "lifespan" in caplog.text
    assert inner.scopes == []


async def test_a_question_of_a_route_is_an_event_of_its_own(rig: GateRig):
    """Allowed or denied; an uncaught denial is the route's answer."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        decision = await torchgate.caller().authorise("infer", "double")
        await _say(send, 200, decision.rule.encode())

    inner.route = route
    assert (await ask(guard, path="/private", headers=ALICE_KEY)).body == b"rule"
    assert (await ask(guard, path="/private", headers=GUEST_KEY)).status == 403
    assert [
        (event.action, event.status, event.principal.name, "." in event.request_id)
        for event in rig.audit.events
        if event.principal is not None
    ] == [
        ("infer", 200, "alice", True),
        ("", 200, "alice", False),
        ("infer", 403, "guest", True),
        ("", 403, "guest", False),
    ]


@pytest.mark.parametrize(
    ("action", "model", "error"),
    [
        ("infer", "", torchgate.Forbidden),
        ("infer", "unknown", torchgate.Forbidden),
        ("infer", "nope", torchgate.TorchgateError),
        ("fly", "double", ValueError),
    ],
)
async def test_a_question_about_nothing_is_never_allowed(rig: GateRig, action: str, model: str, error: type[Exception]):
    """An empty name is no model's, and not the server's either."""
    guard, inner = _guarded(rig)
    raised: list[BaseException] = []

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(error) as caught:
            await torchgate.caller().authorise(action, model)
        raised.append(caught.value)
        await _hello(scope, receive, send)

    inner.route = route
    assert (await ask(guard, path="/private", headers=ALICE_KEY)).status == 200
    assert len(raised) == 1


async def test_an_inference_of_a_route_runs_under_its_caller(rig: GateRig):
    """Through the engine, its memory given back; numpy in, numpy out."""
    guard, inner = _guarded(rig)
    got: list[Any] = []

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        caller = torchgate.caller()
        got.append(await caller.infer("double", {"x": [[1, 2.5]]}))
        got.append(await caller.infer("double", {"x": numpy.ones((2, 2))}))
        await _hello(scope, receive, send)

    inner.route = route
    assert (await ask(guard, path="/private", headers={**ALICE_KEY, "X-Request-ID": "mine"})).status == 200
    assert [answer["y"].tolist() for answer in got] == [[[2.0, 5.0]], [[2.0, 2.0], [2.0, 2.0]]]
    assert [(event.action, event.rows, event.worker != "") for event in rig.audit.events[:2]] == [
        ("infer", 1, True), ("infer", 2, True),
    ]  # fmt: skip
    assert rig.engine.open_permits == 0
    assert {request.principal.key for request in rig.engine.requests} == {ALICE.key}
    assert rig.engine.requests[0].client_ids == ("mine",)


async def test_an_inference_that_cant_be_recorded_has_no_answer(rig: GateRig):
    """It ran, and the route does not learn what came of it."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        rig.audit.is_available = False
        try:
            await torchgate.caller().infer("double", {"x": [[1, 2]]})
        finally:
            rig.audit.is_available = True

    inner.route = route
    assert (await ask(guard, path="/private", headers=ALICE_KEY)).status == 503


@pytest.mark.parametrize(
    ("model", "inputs", "status"),
    [
        ("double", {"x": [[1]]}, 400),
        ("double", {"x": [[1, "a"]]}, 400),
        ("double", {"z": [[1, 2]]}, 400),
        ("double", {}, 400),
        ("double", {"x": [[1, 1e300]]}, 400),
        ("broken", {"x": [[1, 2]]}, 503),
        ("fails", {"x": [[1, 2]]}, 500),
        ("nope", {"x": [[1, 2]]}, 404),
        ("other", {"x": [[1, 2]]}, 403),
    ],
)
async def test_an_inference_that_fails_is_the_routes_answer_where_it_lets_it_through(
    rig: GateRig, model: str, inputs: dict[str, Any], status: int
):
    """With the same status as a request of the protocol; its record has it, too."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await torchgate.caller().infer(model, inputs)

    inner.route = route
    assert (await ask(guard, path="/private", headers=ALICE_KEY)).status == status
    assert [event.status for event in rig.audit.events] == [status, status]
    assert rig.engine.open_permits == 0


async def test_the_clients_own_deadline_counts_for_what_its_route_asks(rig: GateRig):
    """The earliest of the client's, the route's and the server's."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await torchgate.caller().infer("double", {"x": [[1, 2]]}, timeout_s=5.0)
        await _hello(scope, receive, send)

    inner.route = route
    await ask(guard, path="/private", headers={**ALICE_KEY, "X-Request-Timeout-Ms": "2000"})
    first = rig.engine.requests[0].deadline_at
    await ask(guard, path="/private", headers=ALICE_KEY)
    assert 2.5 < rig.engine.requests[1].deadline_at - first < 30


@pytest.mark.parametrize(("headers", "timeout_s"), [({"X-Request-Timeout-Ms": "50"}, None), ({}, 0.05)])
async def test_a_deadline_passes_also_while_there_is_no_word_of_room(
    rig: GateRig, headers: dict[str, str], timeout_s: float | None
):
    """A pool that stands still is found out later; the client's wish counts as the route's own."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await torchgate.caller().infer("double", {"x": [[1, 2]]}, timeout_s=timeout_s)

    inner.route = route
    rig.engine.stands_still = True
    asked = ask(guard, path="/private", headers={**ALICE_KEY, **headers})
    assert (await asyncio.wait_for(asked, WAIT_S)).status == 504


async def test_when_the_request_is_over_its_caller_asks_no_more(rig: GateRig):
    """A task that outlives it acts for nobody."""
    guard, inner = _guarded(rig)
    callers: list[torchgate.Caller] = []

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        callers.append(torchgate.caller())
        await _hello(scope, receive, send)

    inner.route = route
    await ask(guard, path="/private", headers=ALICE_KEY)
    with pytest.raises(RuntimeError, match="over"):
        await callers[0].infer("double", {"x": [[1, 2]]})
    with pytest.raises(RuntimeError, match="over"):
        await callers[0].authorise("read", "double")


async def test_code_on_a_thread_asks_by_the_blocking_caller(rig: GateRig):
    """And on the loop itself it refuses instead of waiting for itself for ever."""
    guard, inner = _guarded(rig)
    got: list[Any] = []

    def work() -> None:
        caller = torchgate.blocking_caller()
        caller.authorise("infer", "double")
        got.append((caller.principal.name, caller.infer("double", {"x": [[1, 2]]})["y"].tolist()))

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(work)
        with pytest.raises(RuntimeError, match="await"):
            torchgate.blocking_caller().infer("double", {"x": [[1, 2]]})
        await _hello(scope, receive, send)

    inner.route = route
    assert (await ask(guard, path="/private", headers=ALICE_KEY)).status == 200
    assert got == [("alice", [[2.0, 4.0]])]


async def test_two_requests_at_a_time_have_each_their_own_caller(rig: GateRig):
    """Whatever the order in which they run."""
    guard, inner = _guarded(rig)
    both = asyncio.Barrier(2)
    names: dict[str, str] = {}

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await both.wait()
        names[scope["path"]] = torchgate.caller().principal.name
        await _hello(scope, receive, send)

    inner.route = route
    await asyncio.gather(ask(guard, path="/alice", headers=ALICE_KEY), ask(guard, path="/guest", headers=GUEST_KEY))
    assert names == {"/alice": "alice", "/guest": "guest"}


async def test_a_refusal_after_the_route_has_read_the_body_waits_for_no_more_of_it(rig: GateRig):
    """Servers tell of nothing more then, until the client goes."""
    guard, inner = _guarded(rig)
    messages = 0

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await torchgate.caller().authorise("infer", "double")

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_counted() -> Any:
            nonlocal messages
            messages += 1
            return await receive()

        await guard(scope, receive_counted, send)

    inner.route = route
    answer = await ask(counted, method="POST", path="/private", headers=GUEST_KEY, body=b"abc")
    assert (answer.status, messages) == (403, 1)


async def test_below_the_prefix_for_windows_callers_the_application_stands_a_second_time(rig: GateRig):
    """The prefix is a part of where it is mounted, and of no path that it knows."""
    carrier = IisCarrier(
        b"ms-aspnetcore-winauthtoken", None, MarkedPaths(()), closes_elsewhere=True, has_certificates=False
    )
    parts = DoorParts(proof=PairingProof("secret"), carrier=carrier, windows_prefix=b"/win")
    rig.door = FrontDoor(FRONT_DOORS["ancm"], parts=parts)
    guard, inner = _guarded(rig)
    sent = {**ALICE_KEY, "MS-ASPNETCORE-TOKEN": "secret"}
    assert (await ask(guard, path="/win/private", headers=sent)).status == 200
    assert (inner.scopes[0]["root_path"], inner.scopes[0]["path"]) == ("/win", "/win/private")
    assert (await ask(guard, path="/winter", headers=sent)).status == 200
    assert (inner.scopes[1]["root_path"], inner.scopes[1]["path"]) == ("", "/winter")


async def test_what_a_route_does_after_its_answer_may_still_ask(rig: GateRig):
    """Background tasks run before the application returns; their questions are recorded like any."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await _hello(scope, receive, send)
        await torchgate.caller().infer("double", {"x": [[1, 2]]})

    inner.route = route
    assert (await ask(guard, path="/private", headers=ALICE_KEY)).status == 200
    assert [event.action for event in rig.audit.events] == ["", "infer"]


async def test_a_route_that_waits_no_longer_takes_its_inference_back(rig: GateRig):
    """The record says so, and the engine gets its room again."""
    guard, inner = _guarded(rig)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await torchgate.caller().infer("hangs", {"x": [[1, 2]]})
        await _hello(scope, receive, send)

    inner.route = route
    assert (await ask(guard, path="/private", headers=ALICE_KEY)).status == 200
    assert [(event.status, event.code) for event in rig.audit.events] == [(499, "cancelled"), (200, "")]
    assert rig.engine.open_permits == 0


async def test_a_policy_that_looks_at_rows_is_asked_with_them(rig: GateRig):
    """Once at the door and once with facts, as for a request of the protocol."""
    guard, inner = _guarded(rig)
    rig.policy.max_rows = 1

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await torchgate.caller().infer("double", {"x": [[1, 2]] * 2})

    inner.route = route
    assert (await ask(guard, path="/private", headers=ALICE_KEY)).status == 403
    assert [facts and facts.rows for _, _, facts in rig.policy.asked] == [None, 2]
    assert rig.engine.requests == []


async def test_too_many_refusals_of_one_address_are_counted_and_not_written(rig: GateRig):
    """Nobody fills the disk by asking routes of the application without a credential."""
    guard, inner = _guarded(rig)
    rig.refusals.left = 1
    assert [(await ask(guard, path="/private")).status for _ in range(3)] == [401, 429, 429]
    assert len(rig.audit.events) == 1
    assert inner.scopes == []


@pytest.mark.parametrize("name", ["torchgate", "torchgate.visit", "Torchgate", "X-Torchgate-Principal"])
@pytest.mark.identity_case("mounted application", "headers that are called as the scope's keys are", "401")
async def test_headers_that_look_like_our_names_prove_nothing(rig: GateRig, name: str):
    """A scope is made by the server and by us; a client's headers stay among its headers."""
    guard, inner = _guarded(rig)
    assert (await ask(guard, path="/private", headers={name: "key:alice"})).status == 401
    assert inner.scopes == []
