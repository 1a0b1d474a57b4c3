"""A gate around a WSGI application: what reaches it, what it may see, what leaves it, and what is written down."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.rigs.gate_rig import ALICE, ALICE_KEY, DOUBLE, GUEST_KEY, ONE_ROW, GateRig, gate_rig
from tests.rigs.wsgi_call import Answered, SlowInput, called, environ

import torchgate
from torchgate.contract.errors import AuditUnavailable, NoCredential
from torchgate.gate.asgi import GateApp
from torchgate.gate.cgi import CgiCarrier, InheritedPipe
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.front_door import DoorParts, FrontDoor
from torchgate.gate.guarded_wsgi import ENVIRON_KEY, GuardedWsgi, note_problem
from torchgate.gate.public_paths import PublicPaths
from torchgate.wsgi_process import GateProcess, OpenedGate

Route = Callable[[dict[str, Any], Any], Iterable[bytes]]


def variables(headers: dict[str, str]) -> dict[str, str]:
    """Headers as server variables."""
    return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}


ALICES, GUESTS = variables(ALICE_KEY), variables(GUEST_KEY)
X = {"x": [[1.5, -2.0]]}


def hello(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


class Body:
    """An iterable of a body that knows whether it was closed."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = iter(pieces)
        self.closed = 0

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.closed += 1


class Around:
    """The user's application, `route`, behind a gate whose neighbours are in memory."""

    def __init__(self) -> None:
        self.rig: GateRig = gate_rig()
        self.rig.door = FrontDoor(FRONT_DOORS["fastcgi"], parts=DoorParts(InheritedPipe(), CgiCarrier()))
        self.route: Route = hello
        self.seen: list[dict[str, Any]] = []
        self.process = self.made()

    def made(self, *, passes_credentials: bool = False) -> GateProcess:
        guarded = GuardedWsgi(self._inner, PublicPaths(["/about", "/static/*"]), passes_credentials=passes_credentials)
        return GateProcess(lambda _: OpenedGate(self._gate, 20.0), {}, guarded=guarded)

    @asynccontextmanager
    async def _gate(self) -> AsyncIterator[GateApp]:
        yield GateApp(self.rig.services())

    def _inner(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.seen.append(environ)
        return self.route(environ, start_response)

    def ask(self, path: str, **more: Any) -> Answered:
        return called(self.process, environ(path, **more))

    def events(self) -> list[tuple[int, str, str]]:
        return [(event.status, event.path, event.code) for event in self.rig.audit.events]


@pytest.fixture
def around() -> Iterator[Around]:
    made = Around()
    yield made
    made.process.close()


@pytest.mark.identity_case("mounted WSGI application", "no credential, a route that is not public", "401")
def test_without_a_credential_no_route_is_reached(around: Around):
    answered = around.ask("/private")
    assert answered.status == 401
    assert around.seen == []
    assert around.events() == [(401, "/private", "no_credential")]


def test_a_proven_caller_reaches_the_route_on_the_servers_own_thread(around: Around):
    """Frameworks keep what belongs to a request with its thread."""
    found: list[Any] = []

    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        caller = torchgate.blocking_caller()
        found.extend([caller.principal, caller.request_id, environ[ENVIRON_KEY].principal, threading.current_thread()])
        return hello(environ, start_response)

    around.route = route
    answered = around.ask("/private", **ALICES)
    assert (answered.status, answered.body) == (200, b"hello")
    assert found == [ALICE, answered.headers["x-request-id"], ALICE, threading.current_thread()]
    (event,) = around.rig.audit.events
    assert (event.principal, event.path, event.status, event.response_bytes) == (ALICE, "/private", 200, 5)


def test_callers_of_many_threads_are_never_taken_for_each_other(around: Around):
    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (torchgate.blocking_caller().principal.key.encode() for _ in range(3))

    around.route = route
    with ThreadPoolExecutor(8) as threads:
        bodies = list(
            threads.map(lambda number: around.ask("/private", **(ALICES, GUESTS)[number % 2]).body, range(64))
        )
    assert bodies == [(b"key:alice", b"key:guest")[number % 2] * 3 for number in range(64)]


def test_the_gates_own_paths_are_the_gates(around: Around):
    assert around.ask("/v2/health/live").json == {"live": True}
    assert around.ask(DOUBLE, method="POST", body=ONE_ROW, **ALICES).status == 200
    assert around.seen == []


@pytest.mark.parametrize(("path", "status"), [("/about", 200), ("/static/a/b.css", 200), ("/About", 401), ("/x", 401)])
def test_what_is_named_public_needs_no_credential(around: Around, path: str, status: int):
    asked: list[type[Exception]] = []

    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            torchgate.caller()
        except NoCredential as nobody:
            asked.append(type(nobody))
        return hello(environ, start_response)

    around.route = route
    assert around.ask(path).status == status
    assert asked == ([NoCredential] if status == 200 else [])
    assert not any(ENVIRON_KEY in one for one in around.seen)


def test_credentials_stay_with_the_gate_unless_they_are_wanted(around: Around):
    around.ask("/private", HTTP_X_ORIGIN="kept", AUTH_PASSWORD="Basic's", **ALICES)
    assert not {"HTTP_X_API_KEY", "HTTP_AUTHORIZATION", "AUTH_PASSWORD"} & set(around.seen[0])
    assert around.seen[0]["HTTP_X_ORIGIN"] == "kept"
    passing = around.made(passes_credentials=True)
    called(passing, environ("/private", **ALICES))
    passing.close()
    assert around.seen[1]["HTTP_X_API_KEY"] == ALICE_KEY["X-API-Key"]


def test_below_a_site_of_iis_the_application_sees_its_own_path(around: Around):
    around.ask("/Models/a b", APPL_MD_PATH="/LM/W3SVC/1/ROOT/models", **ALICES)
    assert (around.seen[0]["SCRIPT_NAME"], around.seen[0]["PATH_INFO"]) == ("/Models", "/a b")
    assert [path for _, path, _ in around.events()] == ["/a b"]


@pytest.mark.identity_case(
    "mounted WSGI application", "a path below the prefix for Windows that is public without it", "decided = routed"
)
def test_below_the_prefix_for_windows_the_application_sees_the_path_that_was_decided(around: Around):
    """The attacker asks for what lies below the prefix, whose rest is the name of something public."""
    around.rig.door = FrontDoor(
        FRONT_DOORS["fastcgi"], parts=DoorParts(InheritedPipe(), CgiCarrier(), windows_prefix=b"/win")
    )
    assert around.ask("/Win/static/ä".encode().decode("latin-1")).status == 200
    assert around.ask("/win/private", **ALICES).status == 200
    assert around.ask("/win", **ALICES).status == 200
    seen = [(one["SCRIPT_NAME"], one["PATH_INFO"].encode("latin-1").decode()) for one in around.seen]
    assert seen == [("/Win", "/static/ä"), ("/win", "/private"), ("/win", "")]


@pytest.mark.identity_case("mounted WSGI application", "X-Original-URL, which wfastcgi takes for the path", "400")
def test_a_client_names_no_other_path(around: Around):
    assert around.ask("/about", HTTP_X_ORIGINAL_URL="/private").status == 400
    assert around.seen == []


def test_an_inference_of_a_route_is_policy_engine_and_audit(around: Around):
    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        doubled = torchgate.blocking_caller().infer("double", X)["y"]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr(doubled.tolist()).encode()]

    around.route = route
    assert around.ask("/private", **ALICES).body == b"[[3.0, -4.0]]"
    inference, whole = around.rig.audit.events
    assert (inference.action, inference.principal, inference.rows, inference.status) == ("infer", ALICE, 1, 200)
    assert inference.request_id == f"{whole.request_id}.1"


@pytest.mark.identity_case("mounted WSGI application", "a route that asks for more than its caller may", "403")
@pytest.mark.parametrize("is_flask", [True, False])
def test_a_refusal_that_no_route_catches_is_the_gates_answer(around: Around, is_flask: bool):
    """Flask makes 500 of every exception, but for those that have a handler: ours."""

    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            torchgate.blocking_caller().authorise("infer", "double")
        except torchgate.TorchgateError as refusal:
            if not is_flask:
                raise
            body, status = note_problem(refusal)
            start_response(f"{status} Internal Server Error", [])
            return [body.encode()]
        raise AssertionError("it was allowed")

    around.route = route
    answered = around.ask("/private", **GUESTS)
    assert (answered.status, answered.json["code"]) == (403, "forbidden")
    assert [(status, code) for status, _, code in around.events()] == [(403, "forbidden")] * 2


def test_what_the_application_has_read_is_not_read_again_after_a_refusal(around: Around):
    """The server would wait for bytes that its client never sends."""

    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"].read(3)
        torchgate.blocking_caller().authorise("infer", "double")
        return hello(environ, start_response)

    around.route = route
    once = SlowInput(b"abc", AssertionError("it was read again"))
    answered = around.ask("/private", method="POST", stream=once, CONTENT_LENGTH="6", **GUESTS)
    assert answered.status == 403
    assert once.left == 1


def test_a_refused_body_is_not_waited_for(around: Around):
    """The attacker, without a credential, announces a body and never sends it: the server's thread would be held."""
    never = SlowInput(AssertionError("it was read"))
    answered = around.ask("/private", method="POST", stream=never, CONTENT_LENGTH="1000")
    assert (answered.status, never.left) == (401, 1)


def test_a_note_of_a_refusal_outside_of_a_request_is_the_refusal():
    with pytest.raises(torchgate.Forbidden):
        note_problem(torchgate.Forbidden("no"))


def test_a_route_that_fails_is_500_without_a_reason(around: Around, caplog: pytest.LogCaptureFixture):
    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise ZeroDivisionError("a secret of the inside")

    around.route = route
    with caplog.at_level(logging.ERROR):
        answered = around.ask("/private", **ALICES)
    assert (answered.status, answered.json["code"]) == (500, "internal_error")
    assert b"secret" not in answered.body
    assert around.events() == [(500, "/private", "internal_error")]


def test_an_application_that_starts_no_response_is_500(around: Around):
    body = Body(b"x")
    around.route = lambda environ, start_response: body
    assert called(around.process, environ("/private", **ALICES), is_examined=False).status == 500
    assert body.closed == 1


def test_a_body_in_pieces_leaves_in_pieces_and_is_closed_once(around: Around):
    """Questions may be asked until its end; afterwards its caller is over."""
    callers: list[torchgate.BlockingCaller] = []

    def pieces() -> Iterator[bytes]:
        caller = torchgate.blocking_caller()
        callers.append(caller)
        yield b"1"
        yield repr(caller.infer("double", X)["y"].tolist()).encode()

    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Request-ID", "a liar's")])
        return pieces()

    around.route = route
    answered = Answered()
    body = around.process(environ("/private", **ALICES), answered.start)
    assert answered.status == 200, "it has begun, and is recorded"
    assert [event.status for event in around.rig.audit.events] == [200]
    assert answered.headers["x-request-id"] == around.rig.audit.events[0].request_id
    assert list(body) == [b"1", b"[[3.0, -4.0]]"]
    body.close()  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="this request is over"):
        callers[0].infer("double", X)


@pytest.mark.parametrize("taken", [0, 1])
def test_a_server_that_stops_taking_closes_the_body(around: Around, taken: int):
    """Also one that takes nothing, as for HEAD."""
    given = Body(b"1", b"2", b"3")

    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return given

    around.route = route
    body = around.process(environ("/private", **ALICES), Answered().start)
    for _ in range(taken):
        next(iter(body))
    body.close()  # type: ignore[attr-defined]
    body.close()  # type: ignore[attr-defined]
    assert given.closed == 1
    around.process.close()  # nothing of it is under way any more


def test_a_body_that_breaks_off_is_the_servers_to_cut(around: Around):
    given = Body(b"1", ZeroDivisionError("in the middle"))

    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return given

    around.route = route
    body = around.process(environ("/private", **ALICES), Answered().start)
    with pytest.raises(ZeroDivisionError):
        list(body)
    body.close()  # type: ignore[attr-defined]
    assert given.closed == 1


def test_what_is_written_by_the_old_way_comes_first(around: Around):
    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"1")
        write(b"2")

        def rest() -> Iterator[bytes]:
            yield b"3"
            write(b"4")
            yield b"5"

        return rest()

    around.route = route
    assert around.ask("/private", **ALICES).body == b"12345"


def test_an_answer_that_can_t_be_recorded_does_not_leave(around: Around):
    given = Body(b"the secret")

    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return given

    around.route = route
    around.rig.audit.failure = AuditUnavailable("the disk is full")
    answered = called(around.process, environ("/private", **ALICES), is_examined=False)
    assert (answered.status, answered.json["code"]) == (503, "audit_unavailable")
    assert given.closed == 1


def test_the_application_reads_its_own_body(around: Around):
    def route(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))]

    around.route = route
    assert around.ask("/private", method="POST", body=b"abc", **ALICES).body == b"abc"
    assert around.rig.audit.events[0].request_bytes == 3
