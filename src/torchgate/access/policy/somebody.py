"""Principals to ask the policy about, made of what is known of somebody, without a credential of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from torchgate.access.identity.key_file import counting_keys, read_key_file
from torchgate.access.policy.roles import Member, Roles, parse_member
from torchgate.access.settings import AccessSettings
from torchgate.contract.principal import Method, Principal
from torchgate.contract.settings_file import nearest

_METHODS: Mapping[str, Method] = {
    "key": "api_key", "cert": "certificate", "sid": "windows", "user": "windows", "group": "windows",
}  # fmt: skip


def somebody_with_roles(settings: AccessSettings, names: Sequence[str]) -> Principal:
    """Who has just these roles.

    Raises:
        ValueError: there is no such role.
    """
    known = {*settings.roles, *(role for one in settings.development.identities for role in one.roles)}
    known |= {role for key in settings.identity.api_keys for role in key.roles}
    for name in sorted(set(names) - known):
        raise ValueError(f"there is no role {name!r}. {nearest(name, sorted(known)) if known else 'There are none.'}")
    return Principal("somebody", "somebody", "bearer", "somebody", roles=frozenset(names))


def development_identity(settings: AccessSettings, name: str) -> Principal:
    """A development identity, as its token proves it.

    Raises:
        ValueError: there is no such one.
    """
    identities = {one.name: one.roles for one in settings.development.identities}
    if name not in identities:
        raise ValueError(
            f"{name!r} is neither a development identity ({', '.join(identities) or 'there are none'}) nor a role "
            "member such as key:ID or ISSUER:role:X."
        )
    mark = f"development:{name}"
    return Principal(
        mark, name, "development", "development", marks=frozenset({mark}), roles=frozenset(identities[name])
    )


def somebody_known(
    settings: AccessSettings, texts: Sequence[str], sids: Mapping[str, str], *, groups_known: bool = True
) -> Principal:
    """Whom these members describe, together, although no single credential may prove all of them.

    Args:
        texts: each in the grammar of role members.
        sids: of Windows names in roles, where they are resolved.

    Raises:
        ValueError: there is none, or one is not in the grammar.
    """
    if not texts:
        raise ValueError("nothing is said of who asks; name one member at least, or roles")
    members = [parse_member(text) for text in texts]
    marks = frozenset(f"sid:{sids[member.mark]}" if member.mark in sids else member.mark for member in members)
    first = members[0]
    principal = Principal(
        key=first.mark,
        name=first.mark,
        method=_METHODS.get(first.issuer, "bearer"),
        issuer=_issuer(first),
        marks=marks,
        groups_known=groups_known,
    )
    principal = Roles(settings.roles, sids).given_to(principal)
    own = [_roles_of_key(settings, member.value) for member in members if member.issuer == "key"]
    return msgspec.structs.replace(principal, roles=principal.roles.union(*own))


def _issuer(member: Member) -> str:
    return "windows" if _METHODS.get(member.issuer) == "windows" else member.issuer


def _roles_of_key(settings: AccessSettings, key_id: str) -> frozenset[str]:
    """Those that the key's own entry gives it."""
    identity = settings.identity
    keys = counting_keys(identity.api_keys, read_key_file(settings.folder / identity.api_keys_file))
    return frozenset(role for key in keys if key.id == key_id for role in key.roles)
