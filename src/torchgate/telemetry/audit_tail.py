"""The newest events of a trail, and those that follow, across all instances that write to it."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torchgate.telemetry.ocsf import DISPOSITIONS
from torchgate.telemetry.segment import chains_in, last_lines, segments_of


class AuditTail:
    """Reads a trail while servers write it; nothing is locked, and no file is kept open.

    Args:
        folder: of the trail.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: dict[Path, int] = {}  # how far each segment was read
        self._has_looked = False

    def last(self, count: int) -> list[bytes]:
        """The newest `count` events of all chains, oldest first; `follow` goes on behind them.

        Raises:
            OSError: the folder can't be read.
        """
        newest: list[tuple[int, bytes]] = []
        for chain in chains_in(self._folder):
            wanted = count
            for path in reversed(list(segments_of(self._folder, chain).values())):
                self._offsets[path] = _complete_bytes(path)
                lines = last_lines(path, wanted) if wanted > 0 else []
                wanted -= len(lines)
                newest += [(_time_of(line), line) for line in lines]
        self._has_looked = True
        return [line for _, line in heapq.nlargest(count, _stable(newest))][::-1] if count else []

    def follow(self) -> Iterator[bytes]:
        """The events that have come since the last call (of this or of `last`); ends when there are no more now.

        Raises:
            OSError: the folder can't be read.
        """
        if not self._has_looked:
            self.last(0)
        fresh: list[tuple[int, bytes]] = []
        for chain in chains_in(self._folder):
            for path in segments_of(self._folder, chain).values():
                offset = self._offsets.get(path, 0)
                if path.stat().st_size > offset:
                    fresh += [(_time_of(line), line) for line in self._read_from(path, offset)]
        yield from (line for _, line in sorted(fresh, key=lambda timed: timed[0]))

    def _read_from(self, path: Path, offset: int) -> list[bytes]:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
        complete = content.rfind(b"\n") + 1
        self._offsets[path] = offset + complete
        return content[:complete].split(b"\n")[:-1]


def human(line: bytes) -> str:
    """One event in one line for people: when, what came of it, who, what, on what, why, how long.

    Characters that a terminal would obey are shown as escapes.
    """
    try:
        event = json.loads(line)
    except ValueError:
        return f"?  {_shown(line.decode('utf-8', 'replace'))}"
    if not isinstance(event, dict):
        return f"?  {_shown(str(event))}"
    try:
        at = datetime.fromtimestamp(_number(event, "time") / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError, OSError):
        at = "?"
    parts = _request_parts(event) if event.get("class_uid") == 6003 else _lifecycle_parts(event)
    return _shown("  ".join((at, *parts)))


def _request_parts(event: dict[str, Any]) -> list[str]:
    disposition = DISPOSITIONS.get(int(_number(event, "disposition_id")), "?")
    status = _text(event, "status_code")
    who = _text(event, "actor", "user", "uid") or "nobody proven"
    operation = _text(event, "api", "operation")
    resources = event.get("resources") or [{}]
    model = ":".join(filter(None, (_text(resources[0], "name"), _text(resources[0], "version"))))
    what = f"{operation} {model or _text(event, 'http_request', 'url', 'path')}"
    parts = [f"{disposition:12}", status, who, what]
    if count := _number(event, "count"):
        address = _text(event, "src_endpoint", "ip") or _text(event, "src_endpoint", "name")
        return [*parts, f"{count:.0f} requests from {address}"]
    parts += [f"by {_text(authorization, 'policy', 'name')}" for authorization in event.get("authorizations") or []]
    detail = _text(event, "status_detail")
    reason = _text(event, "unmapped", "credential_reason")
    parts += [text for text in (detail, reason) if text]
    return [*parts, f"{_number(event, 'unmapped', 'duration_us') / 1000:.1f} ms"]


def _lifecycle_parts(event: dict[str, Any]) -> list[str]:
    return [
        f"{_text(event, 'activity_name').lower():12}",
        _text(event, "app", "feature", "name"),
        _text(event, "message"),
    ]


def _at(event: Any, *path: str) -> Any:
    for key in path:
        event = event.get(key) if isinstance(event, dict) else None
    return event


def _text(event: Any, *path: str) -> str:
    found = _at(event, *path)
    return found if isinstance(found, str) else ""


def _number(event: Any, *path: str) -> float:
    found = _at(event, *path)
    return found if isinstance(found, int | float) else 0


def _shown(text: str) -> str:
    """Printable characters as they are, the others escaped: no event may move a terminal's cursor."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _time_of(line: bytes) -> int:
    try:
        return int(_number(json.loads(line), "time"))
    except ValueError:
        return 0


def _stable(timed: list[tuple[int, bytes]]) -> Iterator[tuple[tuple[int, int], bytes]]:
    """By time, and within one millisecond in the order read."""
    return (((time, index), line) for index, (time, line) in enumerate(timed))


def _complete_bytes(path: Path) -> int:
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65_536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
        return 0
