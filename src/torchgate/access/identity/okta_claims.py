"""What access tokens of Okta's custom authorisation servers say.

Identity is `uid`, which stays where the login name in `sub` changes and may be given to somebody else.

Source: Okta, "Access token payload"; identity.md section 1.4.
"""

from __future__ import annotations

from torchgate.access.identity.profile import ClaimRule, Claims, identifier
from torchgate.access.identity.rejection import reject
from torchgate.access.oidc_settings import OidcSettings


def is_app(claims: Claims) -> bool:
    """Whether a program called for itself."""
    return "uid" not in claims


def uid(claims: Claims) -> str:
    """The person, or empty for a program."""
    return str(claims.get("uid", ""))


def sub(claims: Claims) -> str:
    """The program; empty for a person, whose `sub` is a login name."""
    return str(claims["cid"]) if is_app(claims) else ""


def subject(claims: Claims) -> str:
    """Issuer and person, or issuer and program."""
    return f"{claims['iss']}|{uid(claims) or claims['cid']}"


def _caller(claims: Claims, settings: OidcSettings, now: float) -> None:
    """Both kinds have the client; a program's token names it as its subject too. ID tokens have no `cid`."""
    client = identifier(claims, "cid")
    if not is_app(claims):
        identifier(claims, "uid")
    elif claims["sub"] != client:
        raise reject("uid missing")
    if ("app" if is_app(claims) else "user") not in settings.callers:
        raise reject("a program's token" if is_app(claims) else "a person's token")


RULES: tuple[ClaimRule, ...] = (_caller,)
