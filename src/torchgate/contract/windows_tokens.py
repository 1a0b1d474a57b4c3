"""What access and the gate need of Windows tokens and accounts; `windows` fills it, and a fake on every system."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import msgspec

from torchgate.contract.caller_tokens import CallerToken

Level = Literal["primary", "anonymous", "identification", "impersonation", "delegation"]
"""`primary`, or what an impersonation token allows its holder."""

AccountKind = Literal["user", "group", "well_known"]
"""`well_known` is what the system itself defines: SYSTEM, Everyone, an application pool's account."""


class TokenFacts(msgspec.Struct, frozen=True):
    """What a token says of its user, read while its handle was open.

    Args:
        sid: of the user, `S-1-…`.
        groups: SIDs that are enabled, none of them for denials alone.
        denial_groups: SIDs that count for denials alone: marked so, or not enabled.
        is_own_process: it is our own process's token, the very same.
        is_own_account: its user is the account that we run as.
        level: `primary`, or what an impersonation token allows.
        is_restricted: it has restricting SIDs, or its own user counts for denials alone.
        logon_session: number of its logon session in hex, as Windows' security log has it.
    """

    sid: str
    groups: frozenset[str] = frozenset()
    denial_groups: frozenset[str] = frozenset()
    is_own_process: bool = False
    is_own_account: bool = False
    level: Level = "primary"
    is_restricted: bool = False
    logon_session: str = ""


class NotAToken(Exception):
    """The handle is not a token that we can read; the text says why, without its value.

    What has not proven to be a token was left as it is, because it may be anything of ours.
    """


class Taken(NamedTuple):
    """A token that was taken, and what of its rights was kept.

    Args:
        facts: what it says of its user.
        token: a duplicate of ours by which its user can be impersonated, to be closed by whoever has it; None: none
            could be made.
        why_not: where there is none: why, without the handle's value.
    """

    facts: TokenFacts
    token: CallerToken | None = None
    why_not: str = ""


class WindowsTokens(Protocol):
    """Tokens that somebody duplicated into this process."""

    def take(self, handle: int) -> TokenFacts:
        """Read a token and close its handle: once, only after it has proven to be a token, and then in any case.

        Raises:
            NotAToken: it is none (then it is not closed), or it can't be read (then it is), or it is one that was kept
                (then it stays open: nobody but us may name it).
        """
        ...

    def take_and_keep(self, handle: int) -> Taken:
        """Read a token and close its handle, as `take`, and keep a duplicate by which its user can be impersonated.

        Raises:
            NotAToken: as `take`; nothing is kept then.
        """
        ...


class Account(msgspec.Struct, frozen=True):
    r"""An account that the system, or a domain that it trusts, knows.

    Args:
        sid: `S-1-…`.
        name: `DOMAIN\name`, as the system spells it.
        kind: what it is.
    """

    sid: str
    name: str
    kind: AccountKind


class WindowsAccounts(Protocol):
    """Names and SIDs; each may ask a domain controller, so never on a request's way."""

    def own_sid(self) -> str:
        """The account that we run as; asks nobody."""
        ...

    def by_name(self, name: str) -> Account:
        r"""The account called `DOMAIN\name`; letters count without regard to case.

        Raises:
            LookupError: nobody is called so. OSError: it can't be asked now.
        """
        ...

    def by_sid(self, sid: str) -> Account:
        """The account with this SID.

        Raises:
            LookupError: it has no name. OSError: it can't be asked now.
        """
        ...
