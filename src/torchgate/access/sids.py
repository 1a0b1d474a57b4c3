"""SIDs that mean something special everywhere."""

from __future__ import annotations

import re
from types import MappingProxyType

SID = re.compile(r"S-1-(0|[1-9][0-9]{0,14})(-(0|[1-9][0-9]{0,9})){1,15}")
"""As Windows writes them: no sign, no leading zero. Source: MS-DTYP 2.4.2.1."""

_NOBODY = MappingProxyType(
    {
        "S-1-0-0": "nobody",
        "S-1-5-7": "the anonymous logon",
        "S-1-5-17": "IIS's own account for anonymous requests (IUSR)",
    }
)

SERVICE_ACCOUNTS = MappingProxyType({"S-1-5-18": "SYSTEM", "S-1-5-19": "LocalService", "S-1-5-20": "NetworkService"})
"""Accounts that every Windows machine has, each its own under the same SID."""

_GUEST = re.compile(r"S-1-5-21(-[0-9]+){3}-501")

_NEARLY_EVERYBODY = re.compile(
    r"S-1-1-.*|S-1-2-.*|S-1-3-.*"  # Everyone, by console or not, creators
    r"|S-1-5-([1-46]|1[1-5]|1000)"  # how somebody logged on, Authenticated Users, This Organization and its opposite
    r"|S-1-5-64-.*|S-1-5-65-.*"  # by which package
    r"|S-1-16-.*|S-1-18-.*"  # integrity, who vouched for the logon
)
"""Groups in which nearly every caller is. Source: Microsoft Learn, "Security identifiers"."""


def nobody(sid: str) -> str:
    """Why somebody with this SID is nobody in particular; empty: it is somebody."""
    return "the Guest account" if _GUEST.fullmatch(sid) else _NOBODY.get(sid, "")


def is_nearly_everybody(sid: str) -> bool:
    """Whether nearly every caller is in this group, so that only who writes its SID can mean it."""
    return _NEARLY_EVERYBODY.fullmatch(sid) is not None
