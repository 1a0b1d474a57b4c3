"""The port that IIS waits for, before there is a server."""

from __future__ import annotations

import socket
import threading

import pytest

from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.early_port import BACKLOG, FAILED_ANSWER, PORT_VARIABLES, EarlyPort
from torchgate.gate.settings import GateSettings

GET = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
WAIT_S = 120.0


@pytest.fixture
def number() -> int:
    """A port that nobody has now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def connected(number: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", number), WAIT_S)


def received(caller: socket.socket) -> bytes:
    parts = []
    while part := caller.recv(4096):
        parts.append(part)
    return b"".join(parts)


def test_the_variables_are_those_of_the_front_doors():
    """Both are written down twice, because the declarations take too long to import."""
    assert set(PORT_VARIABLES) == {door.port_variable for door in FRONT_DOORS.values()} - {""}
    assert GateSettings().backlog == BACKLOG


@pytest.mark.parametrize("variable", PORT_VARIABLES)
def test_who_comes_before_the_server_waits_for_it(variable: str, number: int):
    with EarlyPort({variable: str(number)}) as port, connected(number) as caller:
        assert port.is_open
        assert port.since_s >= 0
        caller.sendall(GET)
        listener = port.take(f"127.0.0.1:{number}")
        assert listener is not None
        assert not port.is_open
        with listener:
            listener.settimeout(WAIT_S)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(4096) == GET


def test_a_caller_is_seen_without_being_accepted(number: int):
    with EarlyPort({"ASPNETCORE_PORT": str(number)}) as port:
        assert not port.has_caller()
        with connected(number):
            seen = threading.Event()
            while not port.has_caller():
                assert not seen.wait(0.01)
        listener = port.take(f"127.0.0.1:{number}")
        assert listener is not None
        listener.close()
        assert not port.has_caller()


def test_a_start_that_fails_is_told_to_all_who_wait(number: int):
    with EarlyPort({"HTTP_PLATFORM_PORT": str(number)}):
        callers = [connected(number) for _ in range(3)]
        for caller in callers:
            caller.sendall(GET)
    for caller in callers:
        with caller:
            assert received(caller) == FAILED_ANSWER
    with pytest.raises(OSError), connected(number):  # noqa: PT011 - each system has its own
        pass


def test_an_exception_is_a_start_that_fails(number: int):
    with socket.socket() as caller:
        caller.settimeout(WAIT_S)
        with pytest.raises(LookupError):
            _fail_after(number, caller)
        assert received(caller).startswith(b"HTTP/1.1 503 ")


def _fail_after(number: int, caller: socket.socket) -> None:
    with EarlyPort({"ASPNETCORE_PORT": str(number)}):
        caller.connect(("127.0.0.1", number))
        caller.sendall(GET)
        raise LookupError


def test_who_sends_nothing_keeps_no_failed_start_alive(number: int):
    with socket.socket() as silent, EarlyPort({"ASPNETCORE_PORT": str(number)}):
        silent.connect(("127.0.0.1", number))
    with pytest.raises(OSError), connected(number):  # noqa: PT011
        pass


@pytest.mark.parametrize("value", ["", "0", "65536", "-1", "80a", "\uff18\uff10", "1" * 400, "127.0.0.1:80", " 80"])
def test_what_is_no_port_is_left_to_the_settings(value: str):
    with EarlyPort({"ASPNETCORE_PORT": value}) as port:
        assert not port.is_open
        assert port.take("127.0.0.1:80") is None


def test_a_port_that_is_taken_is_left_to_the_server_that_says_so(number: int):
    with socket.socket() as other:
        other.bind(("127.0.0.1", number))
        other.listen()
        with EarlyPort({"ASPNETCORE_PORT": str(number)}) as port:
            assert not port.is_open
            assert port.take(f"127.0.0.1:{number}") is None


def test_another_address_than_the_taken_one_is_given_back(number: int):
    with EarlyPort({"ASPNETCORE_PORT": str(number)}) as port:
        assert port.take("127.0.0.1:1") is None
        assert not port.is_open
    with socket.socket() as free:
        free.bind(("127.0.0.1", number))


def test_nobody_else_can_take_the_port_too(number: int):
    with EarlyPort({"ASPNETCORE_PORT": str(number)}), EarlyPort({"ASPNETCORE_PORT": str(number)}) as second:
        assert not second.is_open
