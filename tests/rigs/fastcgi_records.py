"""FastCGI as IIS speaks it to one process: records of one request after the other, and what comes back.

Source: FastCGI Specification 1.0, sections 3 to 6.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

BEGIN_REQUEST, END_REQUEST, PARAMS, STDIN, STDOUT, STDERR = 1, 3, 4, 5, 6, 7
_HEADER = struct.Struct(">BBHHBB")
_MAX_CONTENT = 0xFFF8
_RESPONDER, _KEEP_CONNECTION = 1, 1


def request_records(variables: Mapping[str, str], body: bytes, request_id: int = 1) -> bytes:
    """One request, as a web server writes it."""
    begin = _record(BEGIN_REQUEST, struct.pack(">HB5x", _RESPONDER, _KEEP_CONNECTION), request_id)
    pairs = [_pair(name.encode("latin-1"), value.encode("latin-1")) for name, value in variables.items()]
    # A pair is never cut: wfastcgi reads each record by itself.
    blocks, block = [], b""
    for pair in pairs:
        if len(block) + len(pair) > _MAX_CONTENT:
            blocks.append(block)
            block = b""
        block += pair
    blocks.append(block)
    parameters = b"".join(_record(PARAMS, one, request_id) for one in blocks if one) + _record(PARAMS, b"", request_id)
    pieces = [body[start : start + _MAX_CONTENT] for start in range(0, len(body), _MAX_CONTENT)]
    return begin + parameters + b"".join(_record(STDIN, one, request_id) for one in (*pieces, b""))


@dataclass
class FastCgiAnswer:
    """What a process said to one request."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    errors: bytes = b""


def read_answer(read: Callable[[int], bytes], request_id: int = 1) -> FastCgiAnswer:
    """Read until the end of a request.

    Args:
        read: gives exactly so many bytes, or raises EOFError.
    """
    out, errors = bytearray(), bytearray()
    while True:
        version, kind, number, length, padding, _ = _HEADER.unpack(read(_HEADER.size))
        content = read(length) if length else b""
        if padding:
            read(padding)
        assert (version, number) == (1, request_id)
        if kind == STDOUT:
            out += content
        elif kind == STDERR:
            errors += content
        elif kind == END_REQUEST:
            break
    head, _, body = bytes(out).partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n") if ": " in line)
    lower = {name.lower(): value for name, value in headers.items()}
    return FastCgiAnswer(int(lower.pop("status", "0 ").split()[0]), lower, body, bytes(errors))


def _record(kind: int, content: bytes, request_id: int) -> bytes:
    return _HEADER.pack(1, kind, request_id, len(content), 0, 0) + content


def _pair(name: bytes, value: bytes) -> bytes:
    return _length(len(name)) + _length(len(value)) + name + value


def _length(number: int) -> bytes:
    return bytes([number]) if number < 0x80 else struct.pack(">I", number | 0x80000000)
