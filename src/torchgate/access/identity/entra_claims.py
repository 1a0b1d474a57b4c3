"""What Entra ID's access tokens say: whose tenant, which version, a person or a program, a guest.

Identity is tenant and object id, which are never given to anybody else; names, addresses and the user principal name
change, and are for people to read.

Source: Microsoft, "Access token claims reference" and "Secure applications by validating claims"; identity.md 1.3.
"""

from __future__ import annotations

from torchgate.access.identity.entra_issuer import CONSUMERS, GUID, TENANT, read_entra_issuer
from torchgate.access.identity.jws import VerificationKey
from torchgate.access.identity.profile import ClaimRule, Claims, identifier
from torchgate.access.identity.rejection import reject
from torchgate.access.oidc_settings import OidcSettings

_CLIENT_CLAIM = {"1.0": "appid", "2.0": "azp"}  # by the claim `ver`


def check_key_issuer(key: VerificationKey, claims: Claims, settings: OidcSettings) -> None:
    """Whether the key may sign for this tenant: Entra publishes with many keys whose tokens they sign.

    Asked before the signature counts. One tenant's own key set may leave it out; that of many tenants never.

    Raises:
        RejectedCredential: it signs for another tenant.
    """
    entra, tenant = read_entra_issuer(settings.issuer), claims.get("tid")
    if entra is None or not isinstance(tenant, str) or not GUID.fullmatch(tenant):
        raise reject("tenant")
    if not key.token_issuer and entra.tenant != TENANT:
        return
    if tenant == CONSUMERS and TENANT in key.token_issuer:
        raise reject("key of another issuer")  # organisations' keys never sign for personal accounts
    if key.token_issuer.replace(TENANT, tenant) not in entra.key_issuers(tenant):
        raise reject("key of another issuer")


def is_app(claims: Claims) -> bool:
    """Whether the token proves that a program called for itself; the absence of scopes alone is no proof."""
    return claims.get("idtyp") == "app"


def subject(claims: Claims) -> str:
    """Tenant and object id."""
    return f"{claims['tid']}|{claims['oid']}"


def _tenant(claims: Claims, settings: OidcSettings, now: float) -> None:
    """Issuer and tenant name the same tenant: one of another tenant's tokens has the other's issuer or `tid`."""
    tenant = identifier(claims, "tid")
    if settings.tenants and tenant not in settings.tenants:
        raise reject("tenant not allowed")
    if claims["iss"] != settings.issuer.replace(TENANT, tenant) or f"/{tenant}/" not in claims["iss"]:
        raise reject("tenant is not the issuer's")


def _object_id(claims: Claims, settings: OidcSettings, now: float) -> None:
    if not GUID.fullmatch(identifier(claims, "oid")):
        raise reject("oid malformed")


def _version(claims: Claims, settings: OidcSettings, now: float) -> None:
    entra = read_entra_issuer(settings.issuer)
    if entra is None or claims.get("ver") != entra.version:
        raise reject("token version")


def _actor(claims: Claims, settings: OidcSettings, now: float) -> None:
    """The client, under the one name that this version has for it: ID tokens have none."""
    mine = _CLIENT_CLAIM[claims["ver"]]
    client = identifier(claims, mine)
    if any(claims.get(name, client) != client for name in _CLIENT_CLAIM.values()):
        raise reject("client named twice")


def _caller(claims: Claims, settings: OidcSettings, now: float) -> None:
    """A person's token has scopes; a program's has roles and, where that is configured, says `idtyp`."""
    scopes, roles, kind = claims.get("scp"), claims.get("roles"), claims.get("idtyp")
    if "scp" in claims and (not isinstance(scopes, str) or not scopes.strip()):
        raise reject("scp malformed")
    if "roles" in claims and not (isinstance(roles, list) and all(isinstance(role, str) for role in roles)):
        raise reject("roles malformed")
    if not scopes and not roles:
        raise reject("neither scp nor roles")
    if "idtyp" in claims and kind != ("user" if scopes else "app"):
        raise reject("idtyp contradicts scp")
    if ("user" if scopes else "app") not in settings.callers:
        raise reject("a person's token" if scopes else "a program's token")
    if settings.callers == ("app",) and not is_app(claims):
        raise reject("idtyp missing")


def _guest(claims: Claims, settings: OidcSettings, now: float) -> None:
    if settings.allow_guests or not claims.get("scp"):
        return
    if type(claims.get("acct")) is not int or claims["acct"] != 0:
        raise reject("guest, or acct missing")


RULES: tuple[ClaimRule, ...] = (_tenant, _object_id, _version, _actor, _caller, _guest)
