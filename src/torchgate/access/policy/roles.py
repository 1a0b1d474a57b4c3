r"""Who has which role: members in the grammar of role members, matched against a principal's marks.

    sid:S-1-…  user:DOMAIN\name  group:DOMAIN\name            Windows
    <issuer>:role:X  :group:X  :scope:X  :sub:X  :uid:X         claims of that issuer's tokens
    <issuer>:claim:path.to=value                                any other claim
    key:ID                                                      API key
    cert:SHA256                                                 client certificate
    proxy:user:X  proxy:group:X                                 what a proven proxy says (front door `proxy`)

Everything after the kind is taken byte for byte, so that `entra:group:a:b` is the group `a:b`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from torchgate.access.identity.claim_paths import ClaimPath, leading_claim_path
from torchgate.contract.principal import Principal
from torchgate.contract.settings_file import nearest

RESERVED_WORDS: Mapping[str, str] = {
    "sid": "Windows identity",
    "user": "Windows identity",
    "group": "Windows identity",
    "cert": "client certificates",
}
"""Members that only another kind of credential can fulfil → that kind."""

ISSUER_KINDS = ("role", "group", "scope", "claim", "sub", "uid", "user")


class Member(msgspec.Struct, frozen=True):
    """One member of a role, as parsed.

    Args:
        mark: the text itself: a principal that has this mark has the role.
        issuer: a reserved word (`key`, `sid`, …), or the name of an issuer.
        kind: of ISSUER_KINDS, or empty for reserved words.
        value: what must be equal.
        claim: the path, for kind `claim`.
    """

    mark: str
    issuer: str
    kind: str
    value: str
    claim: ClaimPath = ()


def parse_member(text: str) -> Member:
    """One member of a role.

    Raises:
        ValueError: it is not in the grammar; the sentence says what is.
    """
    issuer, _, rest = text.partition(":")
    if not rest:
        raise ValueError(
            f"{text!r} is not a role member; write key:ID, sid:S-1-…, user:DOMAIN\\name, group:DOMAIN\\name, "
            "cert:SHA256, or ISSUER:role:X (also :group:, :scope:, :claim:path=value, :sub:, :uid:)"
        )
    if issuer == "key" or issuer in RESERVED_WORDS:
        return Member(text, issuer, "", rest)
    kind, _, value = rest.partition(":")
    if kind not in ISSUER_KINDS:
        raise ValueError(f"{text!r} has {kind!r} after the issuer. {nearest(kind, ISSUER_KINDS)}")
    if not value:
        raise ValueError(f"{text!r} has nothing after {kind!r}; say which {kind}")
    if kind != "claim":
        return Member(text, issuer, kind, value)
    path, end = leading_claim_path(value)
    if not path or not value.startswith("=", end) or end + 1 == len(value):
        raise ValueError(
            f'{text!r} has no claim path with a value; write {issuer}:claim:path.to=value, and "in.quotes" '
            "a name that has a dot itself"
        )
    return Member(text, issuer, kind, value[end + 1 :], path)


class Roles:
    """Gives principals their roles.

    Args:
        members: role → members, in the grammar above.
        sids: member with a Windows name → its SID, resolved when the settings were loaded.

    Raises:
        ValueError: a member is not in the grammar.
    """

    def __init__(self, members: Mapping[str, Sequence[str]], sids: Mapping[str, str] = MappingProxyType({})) -> None:
        by_mark: dict[str, set[str]] = {}
        by_group_issuer: dict[str, set[str]] = {}
        claims: dict[str, dict[str, Member]] = {}
        for role, texts in members.items():
            for member in map(parse_member, texts):
                mark = f"sid:{sids[member.mark]}" if member.mark in sids else member.mark
                by_mark.setdefault(mark, set()).add(role)
                if member.issuer in ("sid", "group"):  # a SID may be a group's
                    by_group_issuer.setdefault("windows", set()).add(role)
                elif member.kind == "group":
                    by_group_issuer.setdefault(member.issuer, set()).add(role)
                if member.kind == "claim":
                    claims.setdefault(member.issuer, {})[member.mark] = member
        self._roles_of_mark = {mark: frozenset(roles) for mark, roles in by_mark.items()}
        self._group_roles_of_issuer = {issuer: frozenset(roles) for issuer, roles in by_group_issuer.items()}
        self._claims_of_issuer = {issuer: tuple(found.values()) for issuer, found in claims.items()}

    def sids(self) -> frozenset[str]:
        """The SIDs that are members of some role."""
        return frozenset(mark.removeprefix("sid:") for mark in self._roles_of_mark if mark.startswith("sid:"))

    def claim_members(self, issuer: str) -> tuple[Member, ...]:
        """The claims of this issuer that some role asks for: only these need to become marks."""
        return self._claims_of_issuer.get(issuer, ())

    def given_to(self, principal: Principal) -> Principal:
        """The same principal with its roles.

        Where its groups are unknown, every role that has groups of its issuer counts for denials:
        nobody escapes a denial because a list was too long to send.
        """
        denied = self._of_marks(principal.denial_marks)
        if not principal.groups_known:
            denied |= self._group_roles_of_issuer.get(principal.issuer, frozenset())
        return msgspec.structs.replace(principal, roles=self._of_marks(principal.marks), denied_roles=denied)

    def _of_marks(self, marks: Iterable[str]) -> frozenset[str]:
        found = [self._roles_of_mark[mark] for mark in marks if mark in self._roles_of_mark]
        return frozenset().union(*found)
