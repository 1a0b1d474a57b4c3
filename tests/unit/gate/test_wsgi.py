"""Calls of a WSGI server: what becomes of their path, their body and the answer."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rigs.wsgi_call import Answered, SlowInput, environ

from torchgate.contract.errors import Cancelled, InvalidRequest
from torchgate.gate.calling_thread import CallingThread
from torchgate.gate.http_message import HttpResponse
from torchgate.gate.request_path import decode_path
from torchgate.gate.wsgi import WsgiBody, give_answer, read_call, wsgi_body

ROOT = "/LM/W3SVC/1/ROOT"


def raw_path(path: str, **more: str) -> bytes:
    variables = environ(path, **more)
    return read_call(variables, wsgi_body(variables, CallingThread())).raw_path


@given(st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20, exclude_characters="%\\"), min_size=1))
def test_a_path_is_decoded_once_and_by_the_server(text: str):
    """Whatever it holds by then is what it is: nothing of it is an escape any more."""
    assert decode_path(raw_path(f"/{text}")) == f"/{text}"


@pytest.mark.parametrize("path", ["/v2%2fmodels", "/a\\b", "/a\x00b", "/%"])
def test_what_could_be_read_in_two_ways_is_refused(path: str):
    """The attacker escapes twice: the server has decoded `%252f` once."""
    with pytest.raises(InvalidRequest):
        decode_path(raw_path(path))


@pytest.mark.parametrize(
    ("path", "application", "below"),
    [
        ("/models/v2", f"{ROOT}/models", b"/v2"),
        ("/Models/v2", f"{ROOT}/models", b"/v2"),
        ("/models", f"{ROOT}/models", b"/"),
        ("/models2/v2", f"{ROOT}/models", b"/models2/v2"),
        ("/a/b/v2", f"{ROOT}/a/b", b"/v2"),
        ("/v2", ROOT, b"/v2"),
        ("/v2", "", b"/v2"),
        ("/v2", "/LM/W3SVC/1", b"/v2"),
        ("", "", b"/"),
    ],
)
def test_iis_gives_the_whole_path_and_says_where_the_application_begins(path: str, application: str, below: bytes):
    assert raw_path(path, APPL_MD_PATH=application) == below


def test_a_server_that_has_taken_the_applications_path_off_is_believed():
    assert raw_path("/models/v2", SCRIPT_NAME="/models", APPL_MD_PATH=f"{ROOT}/models") == b"/models/v2"


def test_variables_that_come_from_headers_are_told_apart_from_the_servers_own():
    variables = environ("/v2", REMOTE_USER="CORP\\a", HTTP_REMOTE_USER="CORP\\b", HTTP_X_API_KEY="k")
    request = read_call(variables, wsgi_body(variables, CallingThread()))
    assert request.variables is not None
    assert request.variables["REMOTE_USER"] == "CORP\\a"
    assert not any(name.startswith(("HTTP_", "wsgi.")) for name in request.variables)
    assert request.headers.first(b"x-api-key") == b"k"
    assert (request.peer, request.method) == ("192.0.2.7", "GET")


@pytest.mark.parametrize(("told", "values"), [("3", (b"3",)), ("4", (b"3", b"4"))])
def test_a_length_that_is_told_twice_counts_once_unless_the_two_differ(told: str, values: tuple[bytes, ...]):
    """IIS gives it as a variable of its own and among the headers; two lengths are a smuggler's."""
    variables = environ("/v2", body=b"abc", HTTP_CONTENT_LENGTH=told)
    request = read_call(variables, wsgi_body(variables, CallingThread()))
    assert sorted(request.headers.values(b"content-length")) == list(values)


def body_of(variables: dict[str, Any]) -> tuple[WsgiBody, CallingThread]:
    calling = CallingThread()
    return wsgi_body(variables, calling), calling


async def read_through(body: WsgiBody, calling: CallingThread) -> bytes:
    """All of a body, its server's thread beside us."""
    thread = threading.Thread(target=calling.serve)
    thread.start()
    try:
        pieces = []
        while not body.is_complete:
            pieces.append(await body.read())
        return b"".join(pieces)
    finally:
        calling.end()
        thread.join()


async def test_a_body_in_memory_is_read_at_once_and_no_further_than_its_length():
    variables = environ("/", body=b"0123456789", CONTENT_LENGTH="4")
    body, calling = body_of(variables)
    assert body.is_here
    assert await read_through(body, calling) == b"0123"


async def test_a_body_that_comes_is_read_by_the_servers_own_thread_and_no_further_than_its_length():
    readers = set()

    class Watched(SlowInput):
        def read(self, size: int) -> bytes:
            readers.add(threading.current_thread())
            return super().read(size)

    body, calling = body_of(environ("/", stream=Watched(b"01", b"2345678"), CONTENT_LENGTH="6"))
    assert not body.is_here
    assert await read_through(body, calling) == b"012345"
    assert threading.current_thread() not in readers
    assert len(readers) == 1


@pytest.mark.parametrize("pieces", [(b"01",), (b"01", ConnectionResetError()), (OSError("gone"),), ()])
async def test_a_body_that_ends_too_early_is_a_client_that_went(pieces: tuple[bytes | Exception, ...]):
    with pytest.raises(Cancelled):
        await read_through(*body_of(environ("/", stream=SlowInput(*pieces), CONTENT_LENGTH="6")))


async def test_a_body_in_memory_that_is_too_short_is_a_client_that_went():
    with pytest.raises(Cancelled):
        await read_through(*body_of(environ("/", body=b"01", CONTENT_LENGTH="6")))


@pytest.mark.parametrize(("ends", "seen"), [(True, b"012345"), (False, b"")])
async def test_chunks_are_read_to_their_end_where_the_server_says_that_there_is_one(ends: bool, seen: bytes):
    """Elsewhere the next bytes may be another request's."""
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": ends}
    assert await read_through(*body_of(environ("/", stream=SlowInput(b"012", b"345"), **chunked))) == seen


async def test_a_call_without_a_body_has_none_whatever_its_stream_holds():
    body, calling = body_of(environ("/", stream=SlowInput(b"another request")))
    assert body.is_complete
    assert await read_through(body, calling) == b""


@pytest.mark.parametrize("length", ["-1", "x", "\u0661", "1_0"])
def test_a_length_that_is_none_reads_nothing(length: str):
    assert body_of(environ("/", stream=SlowInput(b"x"), CONTENT_LENGTH=length))[0].is_complete


def test_an_answer_is_as_wsgi_has_it():
    """Headers of the connection are the server's, a body of HEAD is none, and a status nobody else has is named."""
    answered = Answered()
    response = HttpResponse(499, b"{}", [(b"X-Request-ID", b"1"), (b"connection", b"close")])
    assert give_answer(response, "GET", answered.start) == [b"{}"]
    assert (answered.status, answered.reason) == (499, "Client Closed Request")
    assert answered.headers == {"x-request-id": "1", "content-length": "2", "content-type": "text/plain"}
    assert give_answer(HttpResponse(200, b"{}", []), "HEAD", answered.start) == []
    assert answered.headers["content-length"] == "2"
