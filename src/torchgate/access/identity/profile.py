"""What a profile is: how one kind of issuer marks its access tokens and names its callers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from torchgate.access.identity.rejection import reject
from torchgate.access.oidc_settings import OidcSettings

Claims = Mapping[str, Any]
ClaimRule = Callable[[Claims, OidcSettings, float], None]
"""(claims, settings, now in Unix seconds)"""

_MAX_ID_CHARACTERS = 255  # OpenID Connect Core section 2, `sub`


class Profile(msgspec.Struct, frozen=True):
    """How one kind of issuer marks its access tokens.

    Args:
        types: allowed `typ` of the header, in lower case, without `application/`; empty text: it may be absent.
        scope_claims: where scopes are.
        claim_rules: in the order in which they are asked.
        client_claims: where the client is: `clients` compares each that is there.
        subject: the stable name of the caller, unique for this configured issuer: what follows its name in the key.
        uid: what `<issuer>:uid:X` means, or empty.
        sub: what `<issuer>:sub:X` means, or empty where `sub` may change hands.
        is_app: whether it is proven that a program called for itself.
        app_claims: claims that name a client: a role may ask for them only where the client itself is the caller.
    """

    types: frozenset[str]
    scope_claims: tuple[str, ...]
    claim_rules: tuple[ClaimRule, ...]
    client_claims: tuple[str, ...]
    subject: Callable[[Claims], str]
    uid: Callable[[Claims], str]
    sub: Callable[[Claims], str]
    is_app: Callable[[Claims], bool] = lambda claims: False
    app_claims: frozenset[str] = frozenset()


def identifier(claims: Claims, name: str) -> str:
    """A claim that names somebody: text, not empty, not long, without control characters.

    Raises:
        RejectedCredential: it is missing or something else.
    """
    found = claims.get(name)
    if not isinstance(found, str) or not found:
        raise reject(f"{name} missing")
    if len(found) > _MAX_ID_CHARACTERS or not is_clean(found):
        raise reject(f"{name} malformed")
    return found


def is_clean(text: str) -> bool:
    """Whether a text has no control characters: it goes into logs and audit."""
    return not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text)
