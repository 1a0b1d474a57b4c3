"""Paths on which a front door's own credential counts, compared as IIS compares them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torchgate.contract.errors import InvalidRequest
from torchgate.gate.request_path import decode_path

_NEEDLESS_ESCAPE = re.compile(rb"%(?:2[DdEeFf]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaCcFf]|6[1-9A-Fa-f]|7[0-9AaEe])")
"""Letters, digits, `-._~/` and backslash behind a percent sign: nobody writes them so but to hide them."""

_DOT_SEGMENT = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")


class MarkedPaths:
    """Paths with everything below them, by segment and without regard to case.

    Case is that of ASCII alone: where IIS would fold more than we do, a path counts as not marked, and nobody is
    believed who should not be.

    Args:
        paths: each begins with a slash; `/` marks everything.
    """

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._marked = tuple(_segments(path) for path in paths)

    def __bool__(self) -> bool:
        return bool(self._marked)

    def __contains__(self, path: object) -> bool:
        if not self._marked or not isinstance(path, str):
            return False
        segments = _segments(path)
        return any(segments[: len(marked)] == marked for marked in self._marked)

    @property
    def has_root(self) -> bool:
        """Whether everything is marked."""
        return () in self._marked


def path_as_front_door_saw_it(raw_path: bytes) -> str:
    """The one path that a front door which decodes paths and we agree on.

    Such a front door decides by the path that it has decoded, and hands on what it decoded. Were that decoded again to
    another path, then its decision (anonymous here, Windows there) would be about another path than ours.

    Raises:
        InvalidRequest: it still hides something, so that the two of us could disagree.
    """
    if b"%" in raw_path and _NEEDLESS_ESCAPE.search(raw_path):
        raise InvalidRequest("The path was escaped twice; send it with plain characters.")
    path = decode_path(raw_path)
    if "\\" in path or _DOT_SEGMENT.search(path):
        raise InvalidRequest("The path has dot segments or a backslash; send the path that they lead to.")
    return path


def _segments(path: str) -> tuple[bytes, ...]:
    """Between slashes, folded as ASCII: `str.lower` would make a K of the Kelvin sign."""
    stripped = path.encode("utf-8", "surrogateescape").lower().strip(b"/")
    leading = len(path) - len(path.lstrip("/"))
    if not stripped:
        return () if leading <= 1 else (b"",)
    segments = tuple(stripped.split(b"/"))
    return segments if leading == 1 else (b"", *segments)
