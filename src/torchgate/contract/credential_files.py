"""Files with a credential in them, which may be pipes: who has it from a program need not write it down."""

from __future__ import annotations

from pathlib import Path

from torchgate.contract.bounded_files import FileRefused

MAX_CREDENTIAL_BYTES = 1 << 20


def read_credential(path: Path) -> str:
    """The credential that a file holds, without the line end behind it.

    Raises:
        FileRefused: it holds none.
        OSError: it can't be read.
        ValueError: no file can have this path.
    """
    with path.open("rb") as file:
        content = file.read(MAX_CREDENTIAL_BYTES + 1)
    if len(content) > MAX_CREDENTIAL_BYTES:
        raise FileRefused(f"it has more than {MAX_CREDENTIAL_BYTES:,} bytes", path)
    try:
        found = content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise FileRefused("it is not ASCII text", path) from None
    if not found or not found.isprintable():
        raise FileRefused("it is empty, or has several lines", path)
    return found
