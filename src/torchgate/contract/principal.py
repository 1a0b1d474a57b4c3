"""The authenticated caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Method = Literal["bearer", "api_key", "development", "windows", "certificate", "proxy", "negotiate"]
"""How the caller proved who it is."""


class Principal(msgspec.Struct, frozen=True):
    """Who is asking, proven.

    Args:
        key: stable and unique: what policy, quotas and audit go by (DESIGN 4.2), e.g. `entra|<iss>|<sub>`, `key:ops`.
        name: for people; never authorised on.
        method: how it was proven.
        issuer: the configured name of the issuer, or the reserved word of the method (`key`, `development`).
        marks: what role members are matched against, each in the grammar of a role member,
            e.g. `entra:role:Analyst`, `entra:scope:infer`, `key:ops`.
        denial_marks: marks that count for denials alone (deny-only groups).
        groups_known: False where groups could not be learnt; then every denial on a role with group members applies.
        roles: the configured roles that `marks` give, set by access.
        denied_roles: roles that count for denials alone (from denial_marks, or because groups are unknown).
        credential_id: what names the credential without being it: key id, token's jti.
        expires_at: Unix seconds after which the credential is worth nothing, or None.
        claims: the claims of a bearer token, for the user's own policy hook; empty for others.
    """

    key: str
    name: str
    method: Method
    issuer: str
    marks: frozenset[str] = frozenset()
    denial_marks: frozenset[str] = frozenset()
    groups_known: bool = True
    roles: frozenset[str] = frozenset()
    denied_roles: frozenset[str] = frozenset()
    credential_id: str = ""
    expires_at: float | None = None
    claims: Mapping[str, object] = msgspec.field(default_factory=dict)


class RowPrincipal(msgspec.Struct, frozen=True, array_like=True):
    """What a model may know of the principal of a row: never the credential.

    Args:
        key, name: as in Principal.
        roles: sorted names of the principal's roles.
    """

    key: str
    name: str
    roles: tuple[str, ...]
