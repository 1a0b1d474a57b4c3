"""Calls as a WSGI server makes them, examined on their way by the validator of Python's own reference server."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.validate import validator

from torchgate.gate.wsgi import StartsResponse

Application = Callable[[dict[str, Any], StartsResponse], Iterable[bytes]]


class Answered:
    """What an application answered."""

    def __init__(self) -> None:
        self.status = 0
        self.reason = ""
        self.headers: dict[str, str] = {}
        self.body = b""

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)

    def start(self, status: str, headers: list[tuple[str, str]], error: object = None) -> Callable[[bytes], object]:
        """The server's start_response."""
        number, _, self.reason = status.partition(" ")
        self.status = int(number)
        self.headers = {name.lower(): value for name, value in headers}
        assert len(self.headers) == len(headers)
        return io.BytesIO().write


class SlowInput:
    """An input stream that is no memory: the server reads it while we ask, in pieces of its own.

    Args:
        pieces: what it gives; an exception is raised.
    """

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = list(pieces)

    @property
    def left(self) -> int:
        """Pieces that nobody has asked for."""
        return len(self._pieces)

    def read(self, size: int) -> bytes:
        """The next piece, at most so long."""
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        return piece[:size]

    def readline(self, size: int = -1) -> bytes:
        """Nobody asks."""
        raise NotImplementedError

    def readlines(self, hint: int = -1) -> list[bytes]:
        """Nobody asks."""
        raise NotImplementedError

    def __iter__(self) -> SlowInput:
        raise NotImplementedError


def environ(
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    stream: SlowInput | None = None,
    **more: str | bool,
) -> dict[str, Any]:
    """The variables of a call, as a server has them that decodes the path.

    Args:
        body: in memory, with its length.
        stream: in place of it, without.
        more: further variables.
    """
    length = {} if body is None else {"CONTENT_LENGTH": str(len(body))}
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "HTTP_HOST": "localhost",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body or b"") if stream is None else stream,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **length,
        **more,
    }


def called(application: Application, variables: dict[str, Any], *, is_examined: bool = True) -> Answered:
    """The application's answer.

    Args:
        is_examined: by the validator, which wraps the input, so that nothing of it lies in memory any more.
    """
    answered = Answered()
    callee = validator(application) if is_examined else application
    pieces = callee(variables, answered.start)
    try:
        answered.body = b"".join(pieces)
    finally:
        if hasattr(pieces, "close"):
            pieces.close()
    return answered
