"""The principal that a believed token makes: its key, its marks, its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torchgate.access.identity.claim_paths import parse_claim_path, texts_at, value_at
from torchgate.access.identity.profile import Claims
from torchgate.access.identity.token_rules import PROFILES
from torchgate.access.oidc_settings import OidcSettings
from torchgate.access.policy.roles import Member
from torchgate.contract.principal import Principal

_MAX_NAME_CHARACTERS = 128  # characters of what people and audit see
_NAME_CLAIMS = ("preferred_username", "unique_name", "name", "email", "client_id", "azp", "appid", "cid")


class TokenPrincipals:
    """Makes principals of the claims of one issuer.

    Args:
        settings: of the issuer.
        claim_members: the claims that roles ask for; no other claim becomes a mark.
    """

    def __init__(self, settings: OidcSettings, claim_members: Sequence[Member]) -> None:
        self._settings = settings
        self._claim_members = tuple(claim_members)
        self._role_paths = tuple(map(parse_claim_path, settings.role_paths()))
        self._group_paths = tuple(map(parse_claim_path, settings.group_claims))
        self._profile = PROFILES[settings.profile]

    def principal(self, claims: Claims) -> Principal:
        """The principal, without its roles. The claims have passed every rule."""
        issuer = self._settings.name
        return Principal(
            key=f"{issuer}|{self._profile.subject(claims)}",
            name=_name(claims) or claims["sub"],
            method="bearer",
            issuer=issuer,
            marks=frozenset(self._marks(claims)),
            groups_known=not self._groups_left_out(claims),
            credential_id=_cleaned(claims.get("jti", claims.get("uti"))),
            expires_at=float(claims["exp"]),
            claims=claims,
        )

    def _marks(self, claims: Claims) -> Iterator[str]:
        issuer = self._settings.name
        for kind, name in (("sub", self._profile.sub(claims)), ("uid", self._profile.uid(claims))):
            if name:
                yield f"{issuer}:{kind}:{name}"
        for kind, paths in (("role", self._role_paths), ("group", self._group_paths)):
            for path in paths:
                yield from (f"{issuer}:{kind}:{text}" for text in texts_at(claims, path))
        for name in self._profile.scope_claims:
            yield from (f"{issuer}:scope:{scope}" for scope in _scopes(claims.get(name)))
        is_app = self._profile.is_app(claims)
        for member in self._claim_members:
            if member.claim[0] in self._profile.app_claims and not is_app:
                continue  # a person who came by way of this client is not this client
            if member.value in _spellings(value_at(claims, member.claim)):
                yield member.mark

    def _groups_left_out(self, claims: Claims) -> bool:
        """Whether the issuer says that there are groups which it did not send (OpenID Connect Core 5.6.2, Entra).

        What it says to fetch them from is not fetched: a token does not send us anywhere.
        """
        elsewhere = claims.get("_claim_names", {})
        if claims.get("hasgroups", False) is not False or not isinstance(elsewhere, dict):
            return True
        return any(path[0] in elsewhere for path in self._group_paths)


def _scopes(found: object) -> list[str]:
    """Scopes of a text with spaces between them, or of a list: issuers do both."""
    if isinstance(found, str):
        return found.split(" ") if found else []
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def _spellings(found: object) -> tuple[str, ...]:
    """A claim's value as a role member writes it: text as it is, true and false, whole numbers; of a list, each."""
    if isinstance(found, list):
        return tuple(text for item in found if not isinstance(item, list) for text in _spellings(item))
    if isinstance(found, bool):
        return ("true" if found else "false",)
    if isinstance(found, str | int):
        return (str(found),)
    return ()


def _name(claims: Claims) -> str:
    return next((name for name in (_cleaned(claims.get(claim)) for claim in _NAME_CLAIMS) if name), "")


def _cleaned(found: object) -> str:
    """A text for people: no control characters, and not long."""
    if not isinstance(found, str):
        return ""
    return "".join(c for c in found[:_MAX_NAME_CHARACTERS] if c.isprintable())
