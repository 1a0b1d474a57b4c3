"""Accounts as `Peer.account` says them: `uid:1000`."""

from __future__ import annotations

import re
from collections.abc import Collection

_NO_UID = 0xFFFFFFFF
"""(uid_t)-1, which chown and setuid take for `unchanged`."""


def account_of(uid: int) -> str:
    """As `Peer.account` says it."""
    return f"uid:{uid}"


def uids_of(accounts: Collection[str]) -> frozenset[int]:
    """Of accounts as `Peer.account` says them.

    Raises:
        ValueError: one that is none.
    """
    for account in accounts:
        if not re.fullmatch(r"uid:(0|[1-9][0-9]{0,9})", account) or int(account[4:]) >= _NO_UID:
            raise ValueError(f"{account!r} is no account of this system; say it as uid:1000")
    return frozenset(int(account[4:]) for account in accounts)


def has_name(account: str) -> bool:
    """Whether this system knows an account."""
    import pwd  # here: this module is imported elsewhere, too

    try:
        pwd.getpwuid(int(account.removeprefix("uid:")))
    except (KeyError, OverflowError):
        return False
    return True


def uid_of(name: str) -> int | None:
    """Of an account by its name, or by its number; None: there is none."""
    import pwd  # here, as above

    try:
        return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
