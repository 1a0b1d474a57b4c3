"""What is true of Wine alone."""

from __future__ import annotations

import ctypes
import sys


def is_wine() -> bool:
    """Whether this Windows is Wine."""
    return sys.platform == "win32" and hasattr(ctypes.windll.ntdll, "wine_get_version")
