"""Headers and settings that are read by a rule of a line: trace context, spans, Accept-Encoding, bind, checks."""

from __future__ import annotations

import pytest

from torchgate.contract.errors import BodyTooLarge, InvalidRequest, Unsupported
from torchgate.gate.body_stream import announced_length
from torchgate.gate.checks import checks
from torchgate.gate.http_message import RequestHeaders
from torchgate.gate.inference_answer import accepted_encoding
from torchgate.gate.limits import deadline_at, header_timeout_s
from torchgate.gate.settings import GateSettings, host_and_port
from torchgate.gate.trace_context import parse_traceparent

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"


@pytest.mark.parametrize(
    ("value", "is_valid"),
    [
        (b"00-" + TRACE + b"-" + SPAN + b"-01", True),
        (b"cc-" + TRACE + b"-" + SPAN + b"-01-later", True),
        (b"00-" + TRACE + b"-" + SPAN + b"-01-more", False),
        (b"ff-" + TRACE + b"-" + SPAN + b"-01", False),
        (b"00-" + b"0" * 32 + b"-" + SPAN + b"-01", False),
        (b"00-" + TRACE + b"-" + b"0" * 16 + b"-01", False),
        (b"00-" + TRACE.upper() + b"-" + SPAN + b"-01", False),
        (b"00-" + TRACE + b"-" + SPAN + b"-01\n", False),
        (b"", False),
    ],
)
def test_a_trace_context_is_taken_whole_or_not_at_all(value: bytes, is_valid: bool) -> None:
    """A bad one is nobody's mistake."""
    assert parse_traceparent(value) == ((TRACE.decode(), SPAN.decode()) if is_valid else ("", ""))
    assert parse_traceparent(None) == ("", "")


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        (b"gzip", b"gzip"), (b"deflate, gzip", b"deflate"), (b"br, GZIP ;q=0.5", b"gzip"), (b"gzip;q=0", None),
        (b"gzip; q=0.000, deflate", b"deflate"), (b"gzip;q=0.001", b"gzip"), (b"identity", None), (b"*", None),
        (b"", None), (b"xgzip", None),
    ],
)  # fmt: skip
def test_an_answer_is_compressed_only_as_the_client_accepts(accept: bytes, encoding: bytes | None) -> None:
    """A weight of nothing is a refusal."""
    assert accepted_encoding(accept) == encoding


def test_a_span_is_whole_milliseconds() -> None:
    """Anything else is the caller's mistake, not a missing wish."""
    assert header_timeout_s(None) is None
    assert header_timeout_s(b"1500") == 1.5
    for bad in (b"", b"0", b"01", b"1.5", b"-1", b"1e3", b" 1", b"\xb2", b"9" * 13):
        with pytest.raises(InvalidRequest, match="from 1 to 999999999999"):
            header_timeout_s(bad)


def test_a_deadline_is_the_wish_or_the_default_and_never_beyond_a_cap() -> None:
    """An absolute point on the clock."""
    assert deadline_at(100.0, None, 30.0, 300.0, 60.0) == 130.0
    assert deadline_at(100.0, 5.0, 30.0, 300.0, 60.0) == 105.0
    assert deadline_at(100.0, 500.0, 30.0, 300.0, 60.0) == 160.0


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"1"), (b"Content-Length", b"1")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"+1")],
        [(b"content-length", b"1_0")],
        [(b"content-length", b"\xb9")],
        [(b"content-length", b"")],
        [(b"content-length", b"9" * 19)],
    ],
)
def test_a_length_that_two_readers_read_differently_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """Also by servers that let it through to us."""
    with pytest.raises(InvalidRequest):
        announced_length(RequestHeaders(headers), 10**18)


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"chunked, chunked", b"identity", b"xchunked", b""])
def test_a_transfer_coding_that_is_not_undone_is_refused_and_never_read_as_if_it_were(coding: bytes) -> None:
    """RFC 9112, section 6.1: 501 for a coding that the server does not understand."""
    with pytest.raises(Unsupported):
        announced_length(RequestHeaders([(b"transfer-encoding", coding)]), 10)


def test_a_length_is_known_absent_or_too_much() -> None:
    """Nothing announced is nothing to come; chunks are unknown."""
    assert announced_length(RequestHeaders([]), 10) == 0
    assert announced_length(RequestHeaders([(b"content-length", b"10")]), 10) == 10
    assert announced_length(RequestHeaders([(b"transfer-encoding", b"chunked")]), 10) is None
    assert announced_length(RequestHeaders([(b"transfer-encoding", b"Chunked")]), 10) is None
    with pytest.raises(BodyTooLarge):
        announced_length(RequestHeaders([(b"content-length", b"11")]), 10)


def test_checks_say_what_types_cannot() -> None:
    """An address that is none, one that others reach, spans that contradict."""

    def found(is_development: bool = False, **changes: object) -> list[tuple[str, str]]:
        settings = GateSettings.model_validate({**GateSettings().model_dump(), **changes})
        return [(finding.severity, finding.setting) for finding in checks(settings, is_development=is_development)]

    assert found() == []
    assert found(bind="[::1]:0") == []
    assert found(bind="nowhere") == [("error", "gate.bind")]
    assert found(bind="0.0.0.0:80") == [("warning", "gate.bind")]
    assert found(True, bind="0.0.0.0:80") == [("error", "gate.bind")]
    assert found(default_timeout_s=400.0) == [("warning", "gate.default_timeout_s")]
    assert found(drain_s=9.0) == [("warning", "gate.drain_s")]
    assert host_and_port("[::1]:8080") == ("::1", 8080)
