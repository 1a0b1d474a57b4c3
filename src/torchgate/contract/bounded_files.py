"""Files that a person names: never more of them is read than they may have, and nothing that is no file is opened."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

MAX_KEY_BYTES = 1 << 20
"""Of a file with keys or certificates, a long chain of them included."""


class FileRefused(OSError):
    """Why a file was not read whole, in the system's way of saying it: `strerror` says seen and allowed."""

    def __init__(self, why: str, path: Path) -> None:
        super().__init__(errno.EINVAL, why, str(path))

    def __str__(self) -> str:
        return str(self.strerror)


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """All that a file holds.

    What is no regular file is not opened: a pipe would block for ever, and a device has no end.

    Args:
        max_bytes: that it may hold; one more is read at the most.

    Raises:
        FileRefused: it is no file, or holds more.
        OSError: it can't be read.
        ValueError: no file can have this path.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused(
            f"it is {'a folder' if stat.S_ISDIR(status.st_mode) else 'a pipe or a device'}, and no file", path
        )
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise FileRefused(f"it has {max(status.st_size, len(content)):,} bytes, and may have {max_bytes:,}", path)
    return content
