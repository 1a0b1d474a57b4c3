"""Lines of requests that differ only in figures, filled into one frame: most of a line is the same again and again.

A frame is the line as the encoder makes it, of an event whose figures are holes. What comes from a caller stands in
the frame, encoded; into the holes go numbers, and ids that are nothing but letters and digits.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from torchgate.contract.audit_event import RequestEvent
from torchgate.contract.decision import Decision
from torchgate.contract.principal import Principal

_KEPT = 4096
"""Frames that are remembered; about 1.5 kB each. Paths of callers are among what tells them apart."""

_FIRST = (
    "time_ms", "request_id", "request_bytes", "response_bytes", "latency_ms", "rows", "duration_us", "queue_us",
    "run_us", "previous",
)  # fmt: skip
"""The holes of every line, in their order; a trace's may follow, and then the sequence, twice."""


class ChainPlace(msgspec.Struct, frozen=True):
    """Where in its chain an event stands.

    Args:
        sequence: 1 for the chain's first line.
        previous: hash of the line before, in hexadecimal; empty for the first.
    """

    sequence: int
    previous: str


class Figures(NamedTuple):
    """The numbers of a request's event, as they stand in its line."""

    time_ms: int
    end_ms: int
    request_bytes: int
    response_bytes: int
    latency_ms: int
    rows: int
    duration_us: int
    queue_us: int
    run_us: int


class _Frame(NamedTuple):
    """A frame, and what its key names by identity: kept, so that no other object can have that identity."""

    line: bytes
    principal: Principal | None
    decision: Decision | None


class RequestFrames:
    """Remembers frames of request events.

    Args:
        encode: the line of an event with these figures at this place, ending in a newline.
    """

    def __init__(self, encode: Callable[[RequestEvent, Figures, ChainPlace], bytes]) -> None:
        self._encode = encode
        self._frames: dict[tuple[object, ...], _Frame] = {}
        # Nobody outside can write a hole: it has a name that is made anew in each process.
        self._mark = secrets.token_hex(16)
        self._hole = re.compile(rb'(")?' + self._mark.encode() + rb'-([a-z_]+)-([ds])(?(1)")')

    def line(self, event: RequestEvent, place: ChainPlace) -> bytes | None:
        """The event's line; None for one that has something of its own to say in words."""
        if event.client_request_id or event.credential_reason or not _is_plain(event):
            return None
        key = (
            id(event.principal), id(event.decision), event.model, event.model_name, event.model_digest, event.status,
            event.code, event.action, event.method, event.path, event.peer, event.front_door, event.worker,
            bool(event.trace_id), bool(event.span_id),
        )  # fmt: skip
        frame = self._frames.get(key)
        if frame is None:
            if len(self._frames) >= _KEPT:
                self._frames.clear()
            frame = self._frames[key] = _Frame(self._new(event), event.principal, event.decision)
        latency_ms, time_ms = int(event.duration_s * 1e3 + 0.5), int(event.at * 1e3)
        return frame.line % (
            time_ms,
            event.request_id.encode("ascii"),
            event.request_bytes,
            event.response_bytes,
            latency_ms,
            event.rows,
            int(event.duration_s * 1e6 + 0.5),
            int(event.queue_s * 1e6 + 0.5),
            int(event.run_s * 1e6 + 0.5),
            place.previous.encode("ascii"),
            *_trace(event, time_ms, time_ms + latency_ms),
            place.sequence,
            place.sequence,
        )

    def _new(self, event: RequestEvent) -> bytes:
        holes = Figures(*[self._named(name, "d") for name in Figures._fields])  # type: ignore[arg-type] # holes
        place = ChainPlace(self._named("sequence", "d"), self._named("previous", "s"))  # type: ignore[arg-type]
        ids = {name: self._named(name, "s") for name in ("request_id", "trace_id", "span_id") if getattr(event, name)}
        line = self._encode(msgspec.structs.replace(event, **ids), holes, place)
        holes_found = [found[2].decode("ascii") for found in self._hole.finditer(line)]
        if holes_found != _order(event):
            raise RuntimeError(f"the figures of an audit event are not where they are filled in: {holes_found}. A bug.")
        return self._hole.sub(_filled_in, line.replace(b"%", b"%%"))

    def _named(self, name: str, kind: str) -> str:
        return f"{self._mark}-{name}-{kind}"


def _order(event: RequestEvent) -> list[str]:
    """The holes of an event's line, as `line` fills them."""
    trace = ["trace_id"] if event.trace_id else []
    span = ["span_id", "time_ms", "end_ms"] if event.trace_id and event.span_id else []
    return [*_FIRST, *trace, *span, "sequence", "sequence"]


def _trace(event: RequestEvent, start_ms: int, end_ms: int) -> tuple[bytes | int, ...]:
    if not event.trace_id:
        return ()
    trace_id = event.trace_id.encode("ascii")
    return (trace_id, event.span_id.encode("ascii"), start_ms, end_ms) if event.span_id else (trace_id,)


def figures_of(event: RequestEvent) -> Figures:
    """Its numbers, in the units of the line."""
    time_ms, latency_ms = int(event.at * 1e3), int(event.duration_s * 1e3 + 0.5)
    return Figures(
        time_ms,
        time_ms + latency_ms,
        event.request_bytes,
        event.response_bytes,
        latency_ms,
        event.rows,
        int(event.duration_s * 1e6 + 0.5),
        int(event.queue_s * 1e6 + 0.5),
        int(event.run_s * 1e6 + 0.5),
    )


def _is_plain(event: RequestEvent) -> bool:
    """Whether its ids need no escape, and its sizes no words: they go into the line as they are."""
    ids = event.request_id + event.trace_id + event.span_id
    largest = max(event.rows, event.request_bytes, event.response_bytes)
    return ids.isascii() and ids.isalnum() and largest < 1 << 63


def _filled_in(found: re.Match[bytes]) -> bytes:
    """A hole as bytes.__mod__ knows it: a number loses the quotes that its name had, within a string there are none."""
    quote, kind = found[1] or b"", found[3]
    return b"%d" if kind == b"d" else quote + b"%s" + quote
