"""W3C trace context of a request: who is upstream of us in a trace."""

from __future__ import annotations

import re

_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-[\x21-\x7e]{0,200})?"
)


def parse_traceparent(value: bytes | None) -> tuple[str, str]:
    """Trace id and the caller's span id, both empty where there is no valid header: a bad one is no one's mistake.

    Source: W3C Trace Context, section 3.2; version 00 ends after the flags, later ones may go on.
    """
    if value is None:
        return "", ""
    found = _TRACEPARENT.fullmatch(value)
    if found is None or (value.startswith(b"00") and len(value) != 55):
        return "", ""
    return found[1].decode("ascii"), found[2].decode("ascii")
