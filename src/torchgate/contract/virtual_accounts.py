r"""Accounts that Windows makes by rule: `IIS AppPool\NAME` and `NT SERVICE\NAME`; their SIDs follow from the name.

So a configuration may say their names, on any system, before pool or service are there.
"""

from __future__ import annotations

import hashlib
import re
import struct

_APPLICATION_POOL = re.compile(r"iis apppool\\(?P<name>[^\\/\x00-\x1f]{1,64})", re.IGNORECASE)
_SERVICE = re.compile(r"nt service\\(?P<name>[^\\/\x00-\x1f]{1,256})", re.IGNORECASE)
_BUILT_IN = {
    "localsystem": "S-1-5-18",
    "nt authority\\system": "S-1-5-18",
    "localservice": "S-1-5-19",
    "nt authority\\localservice": "S-1-5-19",
    "networkservice": "S-1-5-20",
    "nt authority\\networkservice": "S-1-5-20",
}
ACCOUNT_PATTERN = (
    r"^(uid:[0-9]{1,10}|S-1-[0-9-]{1,180}"
    r"|[iI][iI][sS] [aA][pP][pP][pP][oO][oO][lL]\\[^\\/\x00-\x1f]{1,64}"
    r"|[nN][tT] [sS][eE][rR][vV][iI][cC][eE]\\[^\\/\x00-\x1f]{1,256})$"
)
"""What a setting may name: `uid:1000`, a SID, or a virtual account."""


def sid_of_account(account: str) -> str | None:
    r"""The SID of a virtual or built-in account; None for any other name.

    The SID of an application pool is S-1-5-82 and the five words of SHA-1 over its name in lower case, that of a
    service S-1-5-80 and the same over its name in upper case, both in UTF-16.

    Source: `sc.exe showsid`; Microsoft Learn, "Security identifiers": S-1-5-80, S-1-5-82.
    """
    if found := _APPLICATION_POOL.fullmatch(account):
        return _by_rule(82, found["name"].lower())
    if found := _SERVICE.fullmatch(account):
        return _by_rule(80, found["name"].upper())
    return _BUILT_IN.get(account.lower())


def as_peer(account: str) -> str:
    """An account of a setting as `Peer.account` says it: a name becomes its SID, everything else stays."""
    return sid_of_account(account) or account


def _by_rule(authority: int, name: str) -> str:
    # Not for secrets: the rule is Windows' own.
    digest = hashlib.sha1(name.encode("utf-16-le"), usedforsecurity=False).digest()
    return f"S-1-5-{authority}-{'-'.join(map(str, struct.unpack('<5I', digest)))}"
