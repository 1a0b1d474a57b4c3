"""What a token's header and claims must say; each profile is a list of small rules.

A rule looks at one thing and raises RejectedCredential with the class of failure. The signature has been examined
when the claim rules run. What only one kind of issuer has stands in a file of its own (`entra_claims.py`, …).

Source: RFC 8725, RFC 9068 section 4, RFC 9700, ASVS 5.0 chapters 9 and 10; identity.md sections 2 and 3 A, B.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchgate.access.identity import entra_claims, okta_claims
from torchgate.access.identity.profile import ClaimRule, Claims, Profile, identifier, is_clean
from torchgate.access.identity.rejection import reject
from torchgate.access.oidc_settings import OidcSettings

_LATEST_TIME = 253_402_300_799  # Unix seconds: the end of year 9999; later is not a date
_MAX_SUBJECT_CHARACTERS = 255  # OpenID Connect Core section 2, `sub`
_MAX_KID_CHARACTERS = 512


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
    if claims.get("iss") not in settings.accepted_issuers():
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
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_CHARACTERS or not is_clean(subject):
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


def _access_token(claims: Claims, settings: OidcSettings, now: float) -> None:
    """ID, refresh and logout tokens are for somebody else, also where their audience is ours."""
    if not {"nonce", "at_hash", "c_hash", "s_hash", "events"}.isdisjoint(claims):
        raise reject("not an access token")
    kind = claims.get("typ", "Bearer")  # Keycloak's claim: Bearer, DPoP, ID, Refresh, Offline, Logout
    kinds = ("bearer", "dpop") if settings.dpop != "off" and "cnf" in claims else ("bearer",)
    if not isinstance(kind, str) or kind.lower() not in kinds:
        raise reject("not an access token")
    if claims.get("token_use", "access") != "access":  # Cognito's claim
        raise reject("not an access token")


def _client(claims: Claims, settings: OidcSettings, now: float) -> None:
    if not settings.clients:
        return
    named = [claims[name] for name in PROFILES[settings.profile].client_claims if name in claims]
    if not named or not all(isinstance(name, str) and name in settings.clients for name in named):
        raise reject("client not allowed")


def _rfc9068_claims(claims: Claims, settings: OidcSettings, now: float) -> None:
    """RFC 9068 section 2.2: what such a token always has, beside what the other rules ask for."""
    if "iat" not in claims:
        raise reject("iat missing")
    for name in ("client_id", "jti"):
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise reject(f"{name} missing")


def _keycloak_claims(claims: Claims, settings: OidcSettings, now: float) -> None:
    """Keycloak writes `JWT` on all its tokens; its own claim `typ` and the client tell an access token."""
    if "typ" not in claims:
        raise reject("not an access token")
    identifier(claims, "azp")


def _subject_of(claims: Claims) -> str:
    return f"{claims['iss']}|{claims['sub']}"


def _sub(claims: Claims) -> str:
    return str(claims["sub"])


def _uid(claims: Claims) -> str:
    found = claims.get("uid")
    return found if isinstance(found, str) else ""


_EVERY_PROFILE: tuple[ClaimRule, ...] = (_issuer, _audience, _times, _subject, _access_token, _client)
_CLIENTS = ("client_id", "azp")

PROFILES: Mapping[str, Profile] = {
    "rfc9068": Profile(
        frozenset({"at+jwt"}), ("scope",), (*_EVERY_PROFILE, _rfc9068_claims), _CLIENTS, _subject_of, _uid, _sub
    ),
    "generic": Profile(
        frozenset({"", "jwt", "at+jwt"}), ("scope", "scp"), _EVERY_PROFILE, _CLIENTS, _subject_of, _uid, _sub
    ),
    "keycloak": Profile(
        frozenset({"jwt", "at+jwt"}), ("scope",), (*_EVERY_PROFILE, _keycloak_claims), _CLIENTS, _subject_of, _uid, _sub
    ),
    "okta": Profile(
        frozenset({"", "jwt", "at+jwt"}),
        ("scp",),
        (*_EVERY_PROFILE, *okta_claims.RULES),
        ("cid",),
        okta_claims.subject,
        okta_claims.uid,
        okta_claims.sub,
        okta_claims.is_app,
    ),
    "entra": Profile(
        frozenset({"jwt"}),
        ("scp",),
        (*_EVERY_PROFILE, *entra_claims.RULES),
        ("azp", "appid"),
        entra_claims.subject,
        lambda claims: str(claims["oid"]),
        _sub,
        entra_claims.is_app,
        frozenset({"azp", "appid"}),
    ),
}
"""Profile name → how its access tokens look. `generic` also tells by what an ID or refresh token has."""
