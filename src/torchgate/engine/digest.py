"""One number that stands for every byte of a version's folder."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec


class DigestRefused(Exception):
    """The folder holds what can't be vouched for; the text says what and what to do."""


class FileDigest(msgspec.Struct, frozen=True):
    """One file of a version.

    Args:
        path: relative to the version's folder, with `/`.
        sha256: of its content, in hexadecimal.
    """

    path: str
    sha256: str


def folder_digest(folder: Path) -> str:
    """`sha256:…` over all files: each one's relative path and its own SHA-256, sorted by path.

    Every file counts, bytecode too: Python would run a __pycache__ that nobody else looked at.

    Raises:
        DigestRefused: a link leads out of the folder, or something in it is neither file nor folder.
        OSError: it can't be read.
    """
    return digest_of(file_digests(folder))


def file_digests(folder: Path) -> tuple[FileDigest, ...]:
    """Every file of a folder, sorted by path.

    Raises:
        DigestRefused, OSError: as folder_digest.
    """
    return tuple(FileDigest(relative, _sha256(path)) for relative, path in files_of(folder))


def digest_of(files: Iterable[FileDigest]) -> str:
    """What folder_digest says of these files, which must be sorted by path."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.sha256}  {file.path}\n".encode())
    return f"sha256:{total.hexdigest()}"


def files_of(folder: Path) -> list[tuple[str, Path]]:
    """Relative path and path of every file, sorted.

    Raises:
        DigestRefused, OSError: as folder_digest.
    """
    return sorted(_files(folder))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_bytes(folder: Path) -> int:
    """Of all files together; what can't be looked at counts nothing."""
    return sum(size for _, size, _ in _looks(folder))


def fingerprint(folder: Path) -> str:
    """Changes whenever a file of the folder is written, comes or goes; costs one look at each, and reads none.

    Only as good as the times that the file system keeps: to notice, never to vouch.
    """
    looks = "".join(f"{path}\0{size}\0{at_ns}\n" for path, size, at_ns in sorted(_looks(folder)))
    return hashlib.sha256(looks.encode("utf-8", "surrogatepass")).hexdigest()


def _looks(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Path, bytes and time of each file and folder."""
    for around, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(around, name)
            try:
                status = path.stat()
            except OSError:
                yield str(path), 0, 0
            else:
                is_file = stat.S_ISREG(status.st_mode)
                yield str(path), status.st_size if is_file else 0, status.st_mtime_ns if is_file else 0


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    root = folder.resolve()
    for around, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            path = Path(around, name)
            relative = path.relative_to(folder).as_posix()
            if not path.resolve().is_relative_to(root):
                raise DigestRefused(f"'{relative}' leads out of {folder}. Copy what it leads to into the folder.")
            if path.is_symlink() and path.is_dir():
                raise DigestRefused(f"'{relative}' in {folder} is a link to a folder. Copy the folder instead.")
            if not path.is_dir() and not path.is_file():
                raise DigestRefused(f"'{relative}' in {folder} is neither file nor folder. Take it away.")
        yield from ((Path(around, name).relative_to(folder).as_posix(), Path(around, name)) for name in names)


def _raise(error: OSError) -> None:
    raise error
