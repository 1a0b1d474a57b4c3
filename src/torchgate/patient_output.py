"""stdout and stderr of a server: whoever reads them slowly, or not at all, holds nothing up.

A pipe that nobody empties is full after 4 to 64 KiB, and then a write waits for ever: in the event loop that would be
the end of all requests. The same holds for a terminal that was stopped by Ctrl+S, or by a click into a Windows console.
"""

from __future__ import annotations

import io
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Protocol, TextIO, cast

MAX_WAITING_CHARS = 1 << 20
"""Waiting for a reader, in each stream; what is beyond is lost, and that is said once there is room again."""

_MAX_TURN_CHARS = 1 << 16
_ATOMIC_BYTES = 4096
"""What stdout and stderr write into one pipe is not mixed within a line up to here. Source: PIPE_BUF, pipe(7)."""

_CLOSE_S = 1.0
_RETRY_S = 0.05


class Raw(Protocol):
    """An unbuffered end: a write of it may wait, take less than it was given, or (None) nothing now."""

    def write(self, data: bytes, /) -> int | None:
        """Bytes taken."""


class PatientOutput(io.TextIOBase):
    """A text stream whose `write` never waits and never fails: a thread of its own carries on what it is given.

    Args:
        stream: in whose place it stands; None: what is written goes nowhere.
        raw: the end of that stream; its buffer is not used, because a thread that waits in it would hold its lock
            when the interpreter ends.
    """

    def __init__(self, stream: TextIO | None, raw: Raw | None) -> None:
        super().__init__()
        self._stream = stream
        self._raw = raw
        self._coding = (stream.encoding or "utf-8") if stream is not None else "utf-8"
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_chars = 0
        self._lost = 0
        self._thread: threading.Thread | None = None
        if raw is not None:
            self._thread = threading.Thread(target=self._carry, name="output", daemon=True)
            self._thread.start()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream itself."""
        return self._coding

    @property
    def leads_nowhere(self) -> bool:
        """Whether it stands in the place of no stream."""
        return self._stream is None

    def write(self, text: str, /) -> int:
        """Take it, or lose it where too much waits already."""
        if self._raw is not None:
            with self._lock:
                has_room = self._waiting_chars + len(text) <= MAX_WAITING_CHARS
                self._waiting_chars += len(text) if has_room else 0
                self._lost += not has_room
            if has_room:
                self._queue.put(text)
        return len(text)

    def flush(self) -> None:
        """Nothing: everything is on its way, and nobody waits for it."""

    def writable(self) -> bool:
        """Yes."""
        return True

    def isatty(self) -> bool:
        """As the stream itself."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """As the stream itself."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def finish(self, within_s: float = _CLOSE_S) -> None:
        """Let what waits go out, but not for longer than this; what is written afterwards is lost."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(within_s)
        self._raw = None

    def _carry(self) -> None:
        is_open = True
        while is_open:
            parts, is_open = self._next()
            with self._lock:
                self._waiting_chars -= sum(map(len, parts))
                lost, self._lost = self._lost, 0
            if lost:
                parts.append(f"torchgate: {lost} lines were lost here, because nobody read this output.\n")
            try:
                for chunk in _chunks(parts, self._coding):
                    self._write_all(chunk)
            except (OSError, ValueError):  # its reader has gone, or it was closed
                self._raw = None
                return

    def _next(self) -> tuple[list[str], bool]:
        """All that waits, but not more than one turn takes; whether more may come."""
        parts: list[str] = []
        chars = 0
        with suppress(queue.Empty):
            while chars < _MAX_TURN_CHARS:
                part = self._queue.get_nowait() if parts else self._queue.get()
                if part is None:
                    return parts, False
                parts.append(part)
                chars += len(part)
        return parts, True

    def _write_all(self, data: bytes) -> None:
        while data and (raw := self._raw) is not None:
            taken = raw.write(data)
            if taken is None:
                time.sleep(_RETRY_S)  # a pipe that was set not to wait
            else:
                data = data[taken:]


def _chunks(parts: Iterable[str], coding: str) -> Iterator[bytes]:
    """The parts, as many together as a pipe takes at once."""
    chunk = b""
    for part in parts:
        encoded = part.replace("\n", os.linesep).encode(coding, "backslashreplace")
        if chunk and len(chunk) + len(encoded) > _ATOMIC_BYTES:
            yield chunk
            chunk = b""
        chunk += encoded
    yield chunk


def _raw_end(stream: TextIO | None) -> Raw | None:
    """The unbuffered end; with PYTHONUNBUFFERED a standard stream has nothing else."""
    buffer = getattr(stream, "buffer", None)
    if isinstance(buffer, io.RawIOBase):
        return buffer
    raw = getattr(buffer, "raw", None)
    return raw if isinstance(raw, io.RawIOBase) else None


def _flush(stream: TextIO | None) -> None:
    if stream is not None:
        with suppress(OSError, ValueError):
            stream.flush()


@contextmanager
def patient_output() -> Iterator[None]:
    """Stdout and stderr of this process, patient for the block; where there are none, streams that lead nowhere."""
    with ExitStack() as back:
        for stream, redirect in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
            raw = _raw_end(stream)
            if stream is not None and raw is None:
                continue  # somebody has put a stream of their own there, which is in memory
            _flush(stream)
            patient = PatientOutput(stream, raw)
            back.callback(patient.finish)
            back.enter_context(redirect(cast("TextIO", patient)))
        yield
