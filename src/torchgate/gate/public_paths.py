"""Paths of a mounted application that need no credential: those that its author has named, and no others."""

from __future__ import annotations

from collections.abc import Iterable

_EVERYTHING_BELOW = "/*"
_TWO_READINGS = frozenset({".", ".."})


class PublicPaths:
    """A set of paths, decoded and below the place where the application is mounted.

    Args:
        paths: each a whole path (`/about`), or a folder and all below it (`/static/*`).

    Raises:
        ValueError: one is neither, or would make everything public.
    """

    def __init__(self, paths: Iterable[str] = ()) -> None:
        if isinstance(paths, str):
            raise ValueError(f'public is a list of paths: ["{paths}"].')  # noqa: TRY004 - mistakes of one kind
        named = tuple(paths)
        for path in named:
            _examine(path)
        self._whole = frozenset(path for path in named if not path.endswith(_EVERYTHING_BELOW))
        self._folders = tuple(path.removesuffix("*") for path in named if path.endswith(_EVERYTHING_BELOW))

    def __contains__(self, path: str) -> bool:
        """Byte for byte; a path that a file system would read in another way is never public."""
        if path in self._whole:
            return True
        if not path.startswith(self._folders):
            return False
        return "\\" not in path and _TWO_READINGS.isdisjoint(path.split("/"))


def _examine(path: str) -> None:
    if path == _EVERYTHING_BELOW:
        raise ValueError('"/*" would make everything public. Name the paths that need no credential.')
    inner = path.removesuffix(_EVERYTHING_BELOW)
    segments = inner.split("/")[1:]
    if (path != "/" and (not inner.startswith("/") or "" in segments)) or set("*%?#\\{}") & set(inner):
        raise ValueError(
            f'public path {path!r}: write a whole path ("/about"), or a folder and all below ("/static/*").'
        )
    if not _TWO_READINGS.isdisjoint(segments):
        raise ValueError(f"public path {path!r} has a segment of dots.")
