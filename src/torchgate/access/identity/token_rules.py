"""What a token's header and claims must say; each profile is a list of small rules.

A rule looks at one thing and raises RejectedCredential with the class of failure. The signature has been examined
when the claim rules run. Profiles for other issuers are other lists of rules in PROFILES.

Source: RFC 8725, RFC 9068 section 4, RFC 9700, ASVS 5.0 chapters 9 and 10; identity.md sections 2 and 3 A, B.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from torchgate.access.identity.rejection import reject
from torchgate.access.settings import OidcSettings

Claims = Mapping[str, Any]
ClaimRule = Callable[[Claims, OidcSettings, float], None]
"""(claims, settings, now in Unix seconds)"""

_LATEST_TIME = 253_402_300_799  # Unix seconds: the end of year 9999; later is not a date
_MAX_SUBJECT_CHARACTERS = 255  # OpenID Connect Core section 2, `sub`
_MAX_KID_CHARACTERS = 512


class Profile(msgspec.Struct, frozen=True):
    """How one kind of issuer marks its access tokens.

    Args:
        types: allowed `typ` of the header, in lower case, without `application/`; empty text: it may be absent.
        scope_claims: where scopes are.
        claim_rules: in the order in which they are asked.
    """

    types: frozenset[str]
    scope_claims: tuple[str, ...]
    claim_rules: tuple[ClaimRule, ...]


def check_header(header: Mapping[str, Any], settings: OidcSettings) -> tuple[str | None, str]:
    """Key id and algorithm of a header that may go on.

    Whatever else it carries is ignored: a key, or where to get one (`jwk`, `jku`, `x5u`, `x5c`), is never taken
    from a token.

    Raises:
        RejectedCredential: algorithm not allowed, wrong type, or an extension that we don't know.
    """
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in settings.algorithms:
        raise reject("algorithm not allowed")
    if "crit" in header or "b64" in header or "zip" in header:
        raise reject("header extension")
    token_type = header.get("typ", "")
    if not isinstance(token_type, str) or ("typ" in header and not token_type):
        raise reject("token type")
    if token_type.lower().removeprefix("application/") not in PROFILES[settings.profile].types:
        raise reject("token type")
    kid = header.get("kid")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _MAX_KID_CHARACTERS):
        raise reject("key id malformed")
    return kid, algorithm


def check_claims(claims: Claims, settings: OidcSettings, now: float) -> None:
    """All claim rules of the issuer's profile.

    Raises:
        RejectedCredential: one of them is broken.
    """
    for rule in PROFILES[settings.profile].claim_rules:
        rule(claims, settings, now)


def _issuer(claims: Claims, settings: OidcSettings, now: float) -> None:
    if claims.get("iss") != settings.issuer:
        raise reject("issuer")


def _audience(claims: Claims, settings: OidcSettings, now: float) -> None:
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise reject("audience malformed")
    if not set(named).intersection(settings.audience):
        raise reject("audience")


def _subject(claims: Claims, settings: OidcSettings, now: float) -> None:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_CHARACTERS or not _is_clean(subject):
        raise reject("subject")


def _times(claims: Claims, settings: OidcSettings, now: float) -> None:
    expires, not_before, issued = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    skew_s = settings.clock_skew_s
    if expires is None:
        raise reject("no expiry")
    if now >= expires + skew_s:
        raise reject("expired")
    if not_before is not None and now + skew_s < not_before:
        raise reject("not yet valid")
    if issued is not None and now + skew_s < issued:
        raise reject("issued in the future")
    if settings.max_age_s is not None and (issued is None or now - issued > settings.max_age_s + skew_s):
        raise reject("too old")
    if settings.max_lifetime_s is not None and (issued is None or expires - issued > settings.max_lifetime_s):
        raise reject("lifetime too long")


def _time(claims: Claims, name: str) -> int | None:
    """A whole number of seconds: what RFC 7519 allows beyond that (fractions) no issuer needs."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) is not int or not 0 <= value <= _LATEST_TIME:  # bool is an int, and no time
        raise reject(f"{name} malformed")
    return value


def _not_sender_constrained(claims: Claims, settings: OidcSettings, now: float) -> None:
    """A token bound to a key or certificate proves nothing about who sends it as a plain bearer token (RFC 9449)."""
    if "cnf" in claims:
        raise reject("bound token sent as bearer")


def _access_token(claims: Claims, settings: OidcSettings, now: float) -> None:
    """ID, refresh and logout tokens are for somebody else, also where their audience is ours."""
    if not {"nonce", "at_hash", "c_hash", "s_hash", "events"}.isdisjoint(claims):
        raise reject("not an access token")
    kind = claims.get("typ", "Bearer")  # Keycloak's claim: Bearer, ID, Refresh, Offline, Logout
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise reject("not an access token")
    if claims.get("token_use", "access") != "access":  # Cognito's claim
        raise reject("not an access token")


def _client(claims: Claims, settings: OidcSettings, now: float) -> None:
    if not settings.clients:
        return
    named = [claims[name] for name in ("client_id", "azp") if name in claims]
    if not named or not all(isinstance(name, str) and name in settings.clients for name in named):
        raise reject("client not allowed")


def _rfc9068_claims(claims: Claims, settings: OidcSettings, now: float) -> None:
    """RFC 9068 section 2.2: what such a token always has, beside what the other rules ask for."""
    if "iat" not in claims:
        raise reject("iat missing")
    for name in ("client_id", "jti"):
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise reject(f"{name} missing")


def _is_clean(text: str) -> bool:
    """Whether a text has no control characters: it goes into logs and audit."""
    return not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text)


_EVERY_PROFILE: tuple[ClaimRule, ...] = (
    _issuer,
    _audience,
    _times,
    _subject,
    _not_sender_constrained,
    _access_token,
    _client,
)

PROFILES: Mapping[str, Profile] = {
    "rfc9068": Profile(frozenset({"at+jwt"}), ("scope",), (*_EVERY_PROFILE, _rfc9068_claims)),
    "generic": Profile(frozenset({"", "jwt", "at+jwt"}), ("scope", "scp"), _EVERY_PROFILE),
}
"""Profile name → how its access tokens look. `generic` also tells by what an ID or refresh token has."""
