"""A gate in a WSGI server's process: opened once, by the first call; its answers; what a failed start says; its end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.rigs.gate_rig import ALICE_KEY, DOUBLE, ONE_ROW, GateRig, gate_rig
from tests.rigs.wsgi_call import SlowInput, called, environ

from torchgate.composition import CannotStart
from torchgate.gate.asgi import GateApp
from torchgate.gate.cgi import CgiCarrier, InheritedPipe
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.front_door import DoorParts, FrontDoor
from torchgate.wsgi_process import RETRY_S, GateProcess, OpenedGate

KEY = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in ALICE_KEY.items()}
DRAIN_S = 120.0


class Opening:
    """What a process opens: a real gate with neighbours in memory; how often it was opened and closed."""

    def __init__(self) -> None:
        self.rig: GateRig = gate_rig()
        self.rig.door = FrontDoor(FRONT_DOORS["fastcgi"], parts=DoorParts(InheritedPipe(), CgiCarrier()))
        self.opened = 0
        self.closed = 0
        self.failure: Exception | None = None
        self.now = 0.0

    def read(self, environment: Mapping[str, str]) -> OpenedGate:
        return OpenedGate(self._gate, DRAIN_S)

    @asynccontextmanager
    async def _gate(self) -> AsyncIterator[GateApp]:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        self.opened += 1
        yield GateApp(self.rig.services())
        self.closed += 1

    def clock(self) -> float:
        return self.now


@pytest.fixture
def opening() -> Opening:
    return Opening()


@pytest.fixture
def process(opening: Opening) -> Iterator[GateProcess]:
    made = GateProcess(opening.read, {}, opening.clock)
    yield made
    made.close()


@pytest.mark.parametrize("is_examined", [True, False], ids=["coming", "in memory"])
def test_an_inference_is_answered_and_recorded(process: GateProcess, opening: Opening, is_examined: bool):
    """Through Python's own validator of WSGI, and as wfastcgi calls: with all of the body in memory."""
    call = environ(DOUBLE, method="POST", body=ONE_ROW, CONTENT_TYPE="application/json", **KEY)
    answered = called(process, call, is_examined=is_examined)
    assert answered.status == 200, answered.body
    assert answered.json["outputs"][0]["data"] == [3.0, -4.0]
    (event,) = opening.rig.audit.events
    assert (event.status, event.front_door, event.peer) == (200, "fastcgi", "192.0.2.7")
    assert answered.headers["x-request-id"] == event.request_id


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/v2/health/live", {}, 200),
        ("/whoami", {}, 401),
        ("/whoami", KEY, 200),
        ("/whoami", {"HTTP_X_API_KEY": "nobody's"}, 401),
        ("/nowhere", KEY, 404),
        ("/whoami", {**KEY, "HTTP_X_ORIGINAL_URL": "/v2"}, 400),
        ("/whoami", {**KEY, "UNENCODED_URL": "/whoami%3f/open"}, 400),
        ("/whoami", {**KEY, "UNENCODED_URL": "/whoami?a=%3f"}, 200),
        ("/whoami", {**KEY, "HTTP_HOST": "evil.example"}, 400),
        ("/whoami", {"REMOTE_USER": "CORP\\?", "AUTH_TYPE": "Negotiate"}, 401),
        ("/whoami", {**KEY, "REMOTE_USER": "CORP\\a", "AUTH_TYPE": "Negotiate"}, 400),
    ],
)
def test_each_refusal_is_as_through_our_own_socket(process: GateProcess, path: str, more: dict[str, str], status: int):
    answered = called(process, environ(path, **more))
    assert answered.status == status
    if status >= 400:
        assert set(answered.json) == {"error", "code", "request_id"}


def test_a_body_beyond_the_limit_is_refused_unread(process: GateProcess, opening: Opening):
    unread = SlowInput(AssertionError("it was read"))
    call = environ(DOUBLE, method="POST", stream=unread, CONTENT_LENGTH=str(1 << 40), HTTP_EXPECT="100-continue", **KEY)
    assert called(process, call).status == 413
    assert opening.rig.engine.requests == []


def test_a_client_that_goes_while_its_body_comes_is_recorded_so(process: GateProcess, opening: Opening):
    call = environ(DOUBLE, method="POST", stream=SlowInput(ONE_ROW[:9]), CONTENT_LENGTH=str(len(ONE_ROW)), **KEY)
    assert called(process, call).status == 499
    assert [event.status for event in opening.rig.audit.events] == [499]
    assert opening.rig.engine.open_permits == 0


def test_calls_of_many_threads_open_one_gate_and_each_gets_its_own_answer(process: GateProcess, opening: Opening):
    def ask(number: int) -> list[float]:
        body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[%d,0]}]}' % number
        found: list[float] = called(process, environ(DOUBLE, method="POST", body=body, **KEY)).json["outputs"][0][
            "data"
        ]
        return found

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(64))) == [[2.0 * number, 0.0] for number in range(64)]
    assert opening.opened == 1


def test_nothing_is_opened_before_the_first_call(opening: Opening):
    before = threading.active_count()
    GateProcess(opening.read, {}).close()
    assert (opening.opened, threading.active_count()) == (0, before)


@pytest.mark.parametrize("failure", [CannotStart("C:\\secret\\place can't be written"), RuntimeError("an inner thing")])
def test_a_gate_that_does_not_start_is_503_and_only_the_log_says_why(
    tmp_path: Path, opening: Opening, caplog: pytest.LogCaptureFixture, failure: Exception
):
    log = tmp_path / "wsgi.log"
    process = GateProcess(opening.read, {"WSGI_LOG": str(log)}, opening.clock)
    opening.failure = failure
    with caplog.at_level(logging.ERROR):
        answered = called(process, environ("/v2/health/live"))
    assert answered.status == 503
    assert (answered.json["code"], answered.headers["retry-after"]) == ("unavailable", "5")
    assert str(failure) not in answered.body.decode()
    assert str(failure) in log.read_text(encoding="utf-8")
    opening.failure = None
    assert called(process, environ("/v2/health/live")).status == 503, "not tried again at once"
    opening.now += RETRY_S
    assert called(process, environ("/v2/health/live")).status == 200, "mended without a new process"
    process.close()


def test_a_log_that_can_t_be_written_leaves_the_reason_on_standard_error(
    opening: Opening, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """An application pool's account often may not write where web.config says."""
    opening.failure = CannotStart("nothing says where the project is")
    process = GateProcess(opening.read, {"WSGI_LOG": str(tmp_path)}, opening.clock)
    assert called(process, environ("/whoami")).status == 503
    said = capsys.readouterr().err
    assert f"WSGI_LOG {tmp_path} can't be written" in said
    assert "nothing says where the project is" in said


def test_the_end_waits_for_the_call_that_runs_and_answers_no_more(process: GateProcess, opening: Opening):
    with ThreadPoolExecutor(2) as threads:
        slow = SlowInput()
        arrived, go_on = threading.Event(), threading.Event()

        def wait_for_the_rest(size: int) -> bytes:
            arrived.set()
            assert go_on.wait(DRAIN_S)
            return ONE_ROW

        slow.read = wait_for_the_rest  # type: ignore[method-assign]
        call = environ(DOUBLE, method="POST", stream=slow, CONTENT_LENGTH=str(len(ONE_ROW)), **KEY)
        running = threads.submit(called, process, call)
        assert arrived.wait(DRAIN_S)
        closing = threads.submit(process.close)
        while called(process, environ("/v2/health/live")).status == 200:
            """Until the end has begun."""
        go_on.set()
        assert running.result(DRAIN_S).status == 200
        closing.result(DRAIN_S)
    assert opening.closed == 1
    assert called(process, environ("/v2/health/live")).status == 503
    assert opening.opened == 1
    process.close()
    assert opening.closed == 1
