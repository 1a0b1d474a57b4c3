"""What a worker prints, as lines of the server's log: prefixed, cut, and never more than a bounded number."""

from __future__ import annotations

import logging
from collections.abc import Callable

from torchgate.contract.clock import Clock

_log = logging.getLogger("torchgate.worker")

_LONGEST_LINE = 2000
"""Characters; what is longer is cut, and a line that never ends is cut into pieces."""

_LINES_PER_INTERVAL = 100
_INTERVAL_S = 10.0
"""A model that prints in each batch must not fill the disk: beyond so many lines the rest is counted."""


class WorkerOutput:
    """Takes bytes, cut anywhere, and logs lines.

    Args:
        name: of the worker now; it changes when a standby gets a model.
        clock: monotonic.
    """

    def __init__(self, name: Callable[[], str], clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._pending = b""
        self._interval_began = clock()
        self._lines = 0
        self._dropped = 0

    def feed(self, data: bytes) -> None:
        """Some bytes that it printed."""
        if self._is_full():
            # Nothing of it will be shown: a worker that prints gigabytes costs us one look at each piece.
            self._dropped += data.count(b"\n")
            self._pending = data[data.rfind(b"\n") + 1 :][: 4 * _LONGEST_LINE]
            return
        *lines, self._pending = (self._pending + data).split(b"\n")
        if len(self._pending) > 4 * _LONGEST_LINE:
            lines.append(self._pending)
            self._pending = b""
        for line in lines:
            self._line(line)

    def close(self) -> None:
        """The worker has ended: its last words, and how much was left out."""
        if self._pending:
            self._line(self._pending)
            self._pending = b""
        self._say_dropped()

    def _is_full(self) -> bool:
        return self._lines >= _LINES_PER_INTERVAL and self._clock() - self._interval_began < _INTERVAL_S

    def _line(self, line: bytes) -> None:
        if self._is_full():
            self._dropped += 1
            return
        # A thousand bytes more than are shown: a cut character at the end does not matter then.
        text = line[: 4 * _LONGEST_LINE].decode("utf-8", "replace").rstrip()
        if not text:
            return
        now = self._clock()
        if now - self._interval_began >= _INTERVAL_S:
            self._say_dropped()
            self._interval_began, self._lines = now, 0
        self._lines += 1
        if self._lines > _LINES_PER_INTERVAL:
            self._dropped += 1
            return
        # Escape sequences and carriage returns would let a model write lines that look like the server's own.
        safe = "".join(
            one if one.isprintable() or one == "\t" else one.encode("unicode_escape").decode() for one in text
        )
        shown = safe if len(safe) <= _LONGEST_LINE else f"{safe[:_LONGEST_LINE]}… ({len(line)} bytes)"
        _log.info("%s: %s", self._name(), shown)

    def _say_dropped(self) -> None:
        if self._dropped:
            _log.warning("%s: %d more lines within %g s left out", self._name(), self._dropped, _INTERVAL_S)
            self._dropped = 0
