"""Files that only our account may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class PosixPrivateFiles:
    """Implements os_services.PrivateFiles by mode bits."""

    def write_new(self, file: Path, content: bytes) -> None:
        """Write a file that is not there yet, readable for our account alone."""
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as writer:
            writer.write(content)
            writer.flush()
            os.fsync(writer.fileno())

    def readers(self, file: Path) -> str:
        """Who else may read it, or empty."""
        mode = file.stat().st_mode
        return f"its mode is {stat.S_IMODE(mode):04o}, and must be 0600" if mode & _OTHERS else ""
