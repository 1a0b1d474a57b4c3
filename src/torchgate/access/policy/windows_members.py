"""Names of Windows users and groups in roles: resolved to SIDs once, when the settings are loaded.

At run time SIDs alone are compared: a renamed account keeps its rights, and an account that takes over a name gets
none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from torchgate.access.policy.roles import Member, parse_member
from torchgate.access.sids import SID, is_nearly_everybody
from torchgate.contract.findings import Finding
from torchgate.contract.windows_tokens import Account, WindowsAccounts

_NAME = re.compile(r'[^\\/"\[\]:;|=,+*?<>@\x00-\x1f]{1,255}\\[^\\/"\[\]:;|=,+*?<>@\x00-\x1f]{1,255}')
r"""One domain, one backslash, one name. Source: Microsoft Learn, user name formats, `samAccountName`; `@` is left out
because another account can take on what looks like somebody's user principal name."""

WINDOWS_WORDS = ("sid", "user", "group")
"""What stands before the colon of members that only Windows identities fulfil."""


class ResolvedMembers(msgspec.Struct, frozen=True):
    """What the names in roles mean here and now.

    Args:
        sids: member as written → SID.
        findings: what could not be resolved.
    """

    sids: Mapping[str, str] = {}
    findings: tuple[Finding, ...] = ()


def windows_member_mistake(member: Member) -> str:
    """What is wrong with how a member is written; empty: nothing."""
    if member.issuer == "sid":
        return "" if SID.fullmatch(member.value) else f"{member.value!r} is not a SID; write it as S-1-5-21-1-2-3-1105."
    return account_name_mistake(member.value)


def account_name_mistake(name: str) -> str:
    r"""What keeps a text from being one account's name; empty: nothing. `?` is in no name, and hides a lost letter."""
    if _NAME.fullmatch(name) and name.isprintable() and not name.startswith("."):
        return ""
    return f"{name!r} is not the name of an account; write DOMAIN\\name (in TOML '…' keeps the one backslash)."


def resolve_members(roles: Mapping[str, Sequence[str]], accounts: WindowsAccounts | None) -> ResolvedMembers:
    """The SIDs of all names in roles; may ask a domain controller.

    Args:
        roles: role → members.
        accounts: of this system; None where it has none.
    """
    sids: dict[str, str] = {}
    findings: list[Finding] = []
    for role, place, member in _names_in(roles):
        setting = f"roles.{role}.{place}"
        if member.mark in sids:
            continue
        if accounts is None:
            findings.append(Finding("warning", f"'{member.mark}' was not resolved: {_ONLY_WINDOWS}", setting=setting))
        elif sentence := _resolve(member, accounts, sids):
            findings.append(Finding("error", sentence, setting=setting))
    return ResolvedMembers(sids, tuple(findings))


_ONLY_WINDOWS = "only Windows knows the SID of a name. A server on this system needs sid:S-1-… in its place."


def _names_in(roles: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, int, Member]]:
    for role, texts in roles.items():
        for place, text in enumerate(texts):
            if text.partition(":")[0] not in WINDOWS_WORDS:
                continue
            try:
                member = parse_member(text)
            except ValueError:
                continue  # found wrong where members are examined
            if member.issuer != "sid" and not windows_member_mistake(member):
                yield role, place, member


def _resolve(member: Member, accounts: WindowsAccounts, sids: dict[str, str]) -> str:
    """Put the SID of a name among `sids`, or say why not."""
    name = member.value
    try:
        account = accounts.by_name(name)
    except LookupError:
        return f"Windows knows no account '{name}'. Is the domain right, and this machine joined to it?"
    except OSError as error:
        return f"'{name}' can't be resolved now: {error}. sid:S-1-… needs no domain controller."
    if sentence := _unfit(member, account):
        return sentence
    sids[member.mark] = account.sid
    return ""


def _unfit(member: Member, account: Account) -> str:
    if member.issuer == "user" and account.kind == "group":
        return f"'{member.value}' is a group; write group:{member.value}."
    if member.issuer == "group" and account.kind == "user":
        return f"'{member.value}' is a user; write user:{member.value}."
    if is_nearly_everybody(account.sid):
        return f"nearly every caller is in '{member.value}'; if that is meant, write sid:{account.sid}."
    return ""
