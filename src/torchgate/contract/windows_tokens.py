"""What access and the gate need of Windows tokens; `windows` fills it, and a fake on every system."""

from __future__ import annotations

from typing import Protocol

import msgspec


class TokenFacts(msgspec.Struct, frozen=True):
    """What a token says of its user, read while its handle was open.

    Args:
        sid: of the user, `S-1-…`.
        groups: SIDs that are enabled, none of them for denials alone.
        denial_groups: SIDs that count for denials alone.
        is_own_process: it is our own process's token, the very same.
        is_own_account: its user is the account that we run as.
        level: `primary`, or what an impersonation token allows.
    """

    sid: str
    groups: frozenset[str] = frozenset()
    denial_groups: frozenset[str] = frozenset()
    is_own_process: bool = False
    is_own_account: bool = False
    level: str = "primary"


class NotAToken(Exception):
    """The handle is not a token of ours to read, and was left as it is; the text says why, without its value."""


class WindowsTokens(Protocol):
    """Tokens that somebody duplicated into this process."""

    def take(self, handle: int) -> TokenFacts:
        """Read a token and close its handle, exactly once, and only after it has proven to be a token.

        Raises:
            NotAToken: it is none: then it is not closed, because it may be anything of ours.
        """
        ...


class WindowsAccounts(Protocol):
    """Names and SIDs; each may ask a domain controller, so never on a request's way."""

    def sid_of(self, name: str) -> str:
        """The SID of an account called `DOMAIN/name`, with a backslash.

        Raises:
            LookupError: nobody is called so. OSError: it can't be asked now.
        """
        ...

    def name_of(self, sid: str) -> str:
        """The name of a SID, with its domain before a backslash.

        Raises:
            LookupError: it has none. OSError: it can't be asked now.
        """
        ...
