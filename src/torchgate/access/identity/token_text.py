"""A compact JWS taken apart, strictly: what two parsers could read differently is refused.

Source: RFC 7515 section 5.2, RFC 8725 section 2.4 and 3.11; identity.md section 3 A.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import msgspec

from torchgate.access.identity.rejection import reject

_SEGMENTS = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_MAX_INTEGER_DIGITS = 19  # digits of a 64-bit number; longer ones cost quadratic time and mean nothing here


class TokenParts(msgspec.Struct, frozen=True):
    """Header and claims as read, not yet believed, and what the signature is over."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes


def take_apart(token: str, max_bytes: int) -> TokenParts:
    """The three parts of a token; nothing of it is believed yet.

    Args:
        token: as presented.
        max_bytes: longer ones are refused before anything is read.

    Raises:
        RejectedCredential: it is not one compact JWS of JSON objects, in the one spelling that the standard has.
    """
    if len(token) > max_bytes:
        raise reject("token too large")
    segments = _SEGMENTS.fullmatch(token)
    if segments is None:
        raise reject("not a compact JWS")
    header, claims, signature = segments.groups()
    return TokenParts(
        _json_object(_decoded(header), "header"),
        _json_object(_decoded(claims), "claims"),
        token[: segments.end(2)].encode("ascii"),
        _decoded(signature),
    )


def _decoded(segment: str) -> bytes:
    raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)) if len(segment) % 4 != 1 else b""
    # Unused low bits of the last character must be zero, or one token has many spellings (and many cache keys).
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != segment.encode("ascii"):
        raise reject("not canonical base64url")
    return raw


def _json_object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
        found = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_int=_bounded_int, parse_float=_finite, parse_constant=_refused
        )
        if "\\u" in text:
            json.dumps(found, ensure_ascii=False).encode("utf-8")  # half a surrogate pair can't be written anywhere
    except (ValueError, RecursionError):  # UnicodeError and JSONDecodeError are ValueErrors
        raise reject(f"{what} not strict JSON") from None  # the cause holds the text
    if not isinstance(found, dict):
        raise reject(f"{what} not a JSON object")
    return found


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _bounded_int(digits: str) -> int:
    if len(digits) > _MAX_INTEGER_DIGITS + 1:
        raise ValueError("integer too long")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if value - value != 0:  # infinite
        raise ValueError("number too large")
    return value


def _refused(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
