"""An HTTP request and its answer, free of any server's types; asgi.py translates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torchgate.contract.errors import InvalidRequest

Headers = Iterable[tuple[bytes, bytes]]


class RequestHeaders:
    """The headers of a request by lower-case name, read once; a name that came twice is remembered as such."""

    __slots__ = ("_repeated", "_values")

    def __init__(self, raw: Headers) -> None:
        values: dict[bytes, bytes] = {}
        repeated: dict[bytes, list[bytes]] | None = None
        for name, value in raw:
            lower = name.lower()
            if lower in values:
                repeated = {} if repeated is None else repeated
                repeated.setdefault(lower, [values[lower]]).append(value)
            else:
                values[lower] = value
        self._values = values
        self._repeated = repeated

    def __contains__(self, name: bytes) -> bool:
        return name in self._values

    def names(self) -> Iterable[bytes]:
        """Lower-case names, each once."""
        return self._values

    def first(self, name: bytes) -> bytes | None:
        """The first value; for headers where a second one can do no harm."""
        return self._values.get(name)

    def values(self, name: bytes) -> Sequence[bytes]:
        """Every value, in order."""
        if self._repeated is not None and name in self._repeated:
            return self._repeated[name]
        value = self._values.get(name)
        return () if value is None else (value,)

    def single(self, name: bytes) -> bytes | None:
        """The only value, or None.

        Raises:
            InvalidRequest: the header came more than once, so that two readers could take two values.
        """
        if self._repeated is not None and name in self._repeated:
            raise InvalidRequest(f"The header {name.decode('latin-1')} was sent more than once; send it once.")
        return self._values.get(name)

    def is_repeated(self, name: bytes) -> bool:
        """Whether the header came more than once."""
        return self._repeated is not None and name in self._repeated


class Body(Protocol):
    """The body of a request, as it comes."""

    @property
    def is_complete(self) -> bool:
        """Whether all of it has been read here; true from the start where there is none."""
        ...

    @property
    def is_here(self) -> bool:
        """Whether all of it has arrived, so that reading it waits for nobody; False where that is not known."""
        ...

    async def read(self) -> bytes:
        """Some of it, cut anywhere; may be empty before the end.

        Raises:
            Cancelled: the client went away in the middle of it.
        """
        ...


class Disconnect(Protocol):
    """Tells one watcher that the client has gone."""

    @property
    def is_framing_broken(self) -> bool:
        """Whether what the client sends as a body stopped being HTTP."""
        ...

    @property
    def gone(self) -> bool:
        """Whether it has."""
        ...

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Call back when the client goes, at once if it already has."""
        ...

    def unwatch(self) -> None:
        """Forget the watcher."""
        ...


@dataclass(slots=True)
class HttpRequest:
    """One request.

    Args:
        method: as sent.
        raw_path: not decoded, without the query, below the path where we are mounted.
        headers: of the head alone, never trailers.
        peer: address of the last trusted hop; `unix` where our own socket is one.
        body, disconnect: see there.
        tls_certificate: the certificate that the other end of our own TLS has proven, DER; None where there is none.
        variables: server variables where the server is a gateway (CGI, FastCGI), headers left out.
        is_surplus: it came on a connection beyond gate.max_connections, and is to be refused once the door has seen it.
    """

    method: str
    raw_path: bytes
    headers: RequestHeaders
    peer: str
    body: Body
    disconnect: Disconnect
    tls_certificate: bytes | None = None
    variables: Mapping[str, str] | None = None
    is_surplus: bool = False


@dataclass(slots=True)
class HttpResponse:
    """One answer; its body is whole.

    Args:
        code: error code for the record, empty on success.
        closes: the connection ends after this answer.
        has_left: it is on its way already; this is what was left of it to tell.
    """

    status: int
    body: bytes
    headers: list[tuple[bytes, bytes]]
    code: str = ""
    closes: bool = False
    has_left: bool = False


JSON_HEADERS = ((b"content-type", b"application/json"),)


def json_response(status: int, body: bytes, code: str = "") -> HttpResponse:
    """An answer of JSON text."""
    return HttpResponse(status, body, [*JSON_HEADERS], code)
