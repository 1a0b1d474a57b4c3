"""Names that a file or folder can't have on Windows, and so nowhere where we make one of a name from outside."""

from __future__ import annotations

_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in range(10)}
)
"""Windows opens a device under these names, whatever follows after a dot. Source: Microsoft, "Naming Files"."""


def is_device_name(name: str) -> bool:
    """Whether Windows would open a device instead of a file of this name, in any case and with any suffix."""
    return name.partition(".")[0].lower() in _DEVICES
