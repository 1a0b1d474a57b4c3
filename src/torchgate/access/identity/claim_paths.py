"""Where in a token's claims something stands: `realm_access.roles`, `resource_access."my.client".roles`."""

from __future__ import annotations

import re
from collections.abc import Mapping

ClaimPath = tuple[str, ...]

_PART = re.compile(r'"([^"]+)"|([^".=]+)')


def parse_claim_path(path: str) -> ClaimPath:
    """The names along a claim path.

    Raises:
        ValueError: it is not such a path.
    """
    names, end = leading_claim_path(path)
    if not names or end != len(path):
        raise ValueError(
            f"{path!r} is not a claim path; write names with dots between them, and a name that has a dot itself "
            'in double quotes, e.g. resource_access."my.client".roles'
        )
    return names


def leading_claim_path(text: str) -> tuple[ClaimPath, int]:
    """The claim path at the beginning of a text, and where it ends; no names if there is none."""
    names: list[str] = []
    position = 0
    while match := _PART.match(text, position):
        names.append(match[1] or match[2])
        position = match.end()
        if not text.startswith(".", position):
            return tuple(names), position
        position += 1
    return (), 0


def value_at(claims: Mapping[str, object], path: ClaimPath) -> object:
    """What stands there, or None."""
    found: object = claims
    for name in path:
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found


def texts_at(claims: Mapping[str, object], path: ClaimPath) -> list[str]:
    """The texts there: a list's own texts, or the one text; everything else counts for nothing."""
    found = value_at(claims, path)
    if isinstance(found, str):
        return [found]
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []
