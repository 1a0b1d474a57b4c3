"""The files of the trail: their names, and the one file that lines are appended to."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

_SEGMENT = re.compile(r"audit-(?P<chain>[a-z0-9.]+-[0-9a-f]{8}-\d+)-(?P<number>\d{5,})\.jsonl")
_CHAIN_FILE = re.compile(
    r"audit-(?P<chain>[a-z0-9.]+-[0-9a-f]{8}-\d+)(?:-\d{5,})?\.(?:jsonl|checkpoints|head|seal|live)"
)
_BINARY = getattr(os, "O_BINARY", 0)  # Windows alone has it, and would turn \n into \r\n without it
_TAIL_BYTES = 256 << 10  # a whole line is found in so much from a file's end; lines have about 2 kB


def segment_name(chain: str, number: int) -> str:
    """File name of a chain's segment; numbers count from 1."""
    return f"audit-{chain}-{number:05}.jsonl"


def segments_of(folder: Path, chain: str) -> Mapping[int, Path]:
    """A chain's segments by number, in order."""
    found = {}
    for path in folder.glob(f"audit-{chain}-*.jsonl"):
        match = _SEGMENT.fullmatch(path.name)
        if match and match["chain"] == chain:
            found[int(match["number"])] = path
    return dict(sorted(found.items()))


def chains_in(folder: Path) -> list[str]:
    """Ids of the chains that have left any file, oldest first."""
    matches = (_CHAIN_FILE.fullmatch(path.name) for path in folder.iterdir())
    return sorted({match["chain"] for match in matches if match}, key=started_at_ms)


def started_at_ms(chain: str) -> int:
    """When a chain was opened, in Unix milliseconds: its id says so."""
    return int(chain.rpartition("-")[2])


def last_lines(path: Path, count: int = 1) -> list[bytes]:
    """The last complete lines of a file that may be growing, without newlines; fewer where it has fewer."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        wanted = _TAIL_BYTES
        while True:
            start = max(0, end - wanted)
            file.seek(start)
            lines = file.read(end - start).split(b"\n")[:-1]
            if start == 0 or len(lines) > count:
                return (lines if start == 0 else lines[1:])[-count:]
            wanted *= 4


def torn_bytes(path: Path) -> bytes:
    """What stands after a file's last newline: a line that was never finished, or nothing."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        tail = b""
        while end > 0 and b"\n" not in tail:
            start = max(0, end - _TAIL_BYTES)
            file.seek(start)
            tail = file.read(end - start) + tail
            end = start
        return tail[tail.rfind(b"\n") + 1 :]


def cut_torn(path: Path) -> int:
    """Move what stands after the last newline into a `.torn` file beside; returns how many bytes.

    The copy is on disk before the original is cut, so that a second death in between loses nothing.
    """
    torn = torn_bytes(path)
    if torn:
        write_durably(path.with_suffix(".torn"), torn)
        descriptor = os.open(path, os.O_RDWR | _BINARY)
        try:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - len(torn))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return len(torn)


def write_durably(path: Path, data: bytes, *, append: bool = False) -> None:
    """Write or append to a file; it is on disk when this returns.

    Raises:
        OSError: it is not; what was appended in part is taken back.
    """
    flags = os.O_WRONLY | os.O_CREAT | _BINARY | (os.O_APPEND if append else os.O_TRUNC)
    descriptor = os.open(path, flags, 0o640)
    length = os.fstat(descriptor).st_size
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, length)
        raise
    finally:
        os.close(descriptor)


def replace_durably(path: Path, data: bytes) -> None:
    """Put a file in the place of another, whole or not at all; it is on disk when this returns.

    Raises:
        OSError: it is not. PermissionError, on Windows: somebody has the old file open.
    """
    draft = path.with_name(f"{path.name}-draft")
    write_durably(draft, data)
    draft.replace(path)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable, where the system has a way; NTFS journals them by itself."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class SegmentFile:
    """A segment that is being written: made by us, never shared, only ever appended to.

    Not thread-safe: whoever owns the chain uses it.

    Raises:
        OSError: it exists already, or can't be made.
    """

    __slots__ = ("_descriptor", "_has_torn_end", "length", "number", "path")

    def __init__(self, folder: Path, chain: str, number: int) -> None:
        self.path = folder / segment_name(chain, number)
        self.number = number
        self.length = 0  # bytes of complete lines
        self._has_torn_end = False
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | _BINARY
        self._descriptor = os.open(self.path, flags, 0o640)

    def append(self, data: bytes) -> None:
        """Hand lines to the operating system, all or none of them.

        Raises:
            OSError: none of them are in the file, or `repair` must succeed before the next.
        """
        try:
            _write_all(self._descriptor, data)
        except OSError:
            self._has_torn_end = True
            with contextlib.suppress(OSError):
                self.repair()
            raise
        self.length += len(data)

    def repair(self) -> None:
        """Cut off what a failed append left behind."""
        if self._has_torn_end:
            os.ftruncate(self._descriptor, self.length)
            self._has_torn_end = False

    def sync(self) -> None:
        """Put it on disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Give the file back; it must not be used again."""
        os.close(self._descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])
