"""Which names a model may have: those that every file system, Windows and IIS serve unchanged."""

from __future__ import annotations

import re

from torchgate.contract.file_names import is_device_name

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")

_HIDDEN_SEGMENTS = frozenset(
    {
        "bin", "app_code", "app_globalresources", "app_localresources", "app_webreferences", "app_data",
        "app_browsers", "web.config",
    }
)  # fmt: skip
"""IIS answers 404.8 to any address with one. Source: applicationHost.config, requestFiltering/hiddenSegments."""


def name_mistake(name: str) -> str:
    """Why a model can't have this name, as the end of a sentence; empty if it can."""
    if not _NAME.fullmatch(name):
        return "may have letters, digits, '.', '_' and '-', begins with a letter or digit, and has at most 128 of them"
    if name.endswith("."):
        return "ends with a dot, which Windows drops"
    if is_device_name(name):
        return "names a device on Windows"
    if name.lower() in _HIDDEN_SEGMENTS:
        return "is a hidden segment of IIS, which answers 404 to every address that holds it"
    return ""


def is_version(name: str) -> bool:
    """Whether a folder of this name is a version: a whole number from 1, without leading zeros."""
    return _VERSION.fullmatch(name) is not None
