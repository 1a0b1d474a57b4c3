"""Whether this account can read, and write, where it must; found out by doing it, for access lists say half of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def unreadable(path: Path) -> str:
    """Why a file or folder can't be read, or empty."""
    try:
        if path.is_dir():
            next(path.iterdir(), None)
        else:
            with path.open("rb") as file:
                file.read(1)
    except OSError as error:
        return reason(error)
    return ""


def unwritable(folder: Path) -> str:
    """Why nothing can be written into a folder, or empty; of one that is not there yet, the nearest that is."""
    place = next((one for one in (folder, *folder.parents) if one.exists()), None)
    if place is None:
        return "there is no such drive or folder"
    if not place.is_dir():
        return f"{place} is no folder"
    try:
        with tempfile.TemporaryFile(prefix=".torchgate-doctor-", dir=place) as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return reason(error)
    return ""


def reason(error: OSError) -> str:
    """The words of an error, without what it is about."""
    return error.strerror or type(error).__name__
