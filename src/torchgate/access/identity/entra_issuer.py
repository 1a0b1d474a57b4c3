"""What an issuer of Entra ID looks like, in both versions of its tokens, and where its keys are described.

Source: Microsoft, "Access tokens in the Microsoft identity platform"; identity.md section 1.3.
"""

from __future__ import annotations

import re

import msgspec

TENANT = "{tenantid}"
"""Stands for the tenant, in an issuer of many tenants and in the `issuer` of their keys; Microsoft's own spelling."""
CONSUMERS = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant of personal Microsoft accounts."""
GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_ISSUER = re.compile(rf"(https?://[^/]+)/({GUID.pattern}|\{{tenantid\}})/(v2\.0)?")
_V1_HOST, _V1_METADATA_HOST = "https://sts.windows.net", "https://login.microsoftonline.com"


class EntraIssuer(msgspec.Struct, frozen=True):
    """An issuer taken apart.

    Args:
        host: scheme and host of its metadata.
        tenant: a GUID, or TENANT.
        version: of its tokens, as their claim `ver` says.
    """

    host: str
    tenant: str
    version: str

    @property
    def metadata_url(self) -> str:
        """Its discovery document: for many tenants the common one, which names TENANT itself as its tenant."""
        tenant = "common" if self.tenant == TENANT else self.tenant
        version = "/v2.0" if self.version == "2.0" else ""
        return f"{self.host}/{tenant}{version}/.well-known/openid-configuration"

    def key_issuers(self, tenant: str) -> frozenset[str]:
        """What the `issuer` of a key may be, TENANT filled in, so that it signs tokens of this tenant.

        Keys name the issuer of version 2.0 also where tokens are of version 1.0.
        """
        return frozenset({f"{self.host}/{tenant}/v2.0", f"{_V1_HOST}/{tenant}/", f"{self.host}/{tenant}/"})


def read_entra_issuer(issuer: str) -> EntraIssuer | None:
    """The parts of an issuer of Entra, or None."""
    found = _ISSUER.fullmatch(issuer)
    if found is None:
        return None
    host = _V1_METADATA_HOST if found[1] == _V1_HOST else found[1]
    return EntraIssuer(host, found[2], "2.0" if found[3] else "1.0")


def entra_issuer_mistake(issuer: str, tenants: tuple[str, ...]) -> str:
    """Why an issuer with these allowed tenants is not one of Entra, or empty."""
    if ".b2clogin.com/" in issuer or ".ciamlogin.com/" in issuer:
        return f'issuer {issuer!r} is of a customer tenant (B2C, External ID), whose tokens need profile = "generic"'
    found = read_entra_issuer(issuer)
    if found is None:
        return (
            f"issuer {issuer!r} is not one of Entra: https://login.microsoftonline.com/TENANT/v2.0, or "
            "https://sts.windows.net/TENANT/ for tokens of version 1.0, where TENANT is the tenant's id in lower case "
            "(not a domain, `common` or `organizations`), or {tenantid} beside a list of allowed tenants"
        )
    if found.tenant != TENANT:
        return "tenants is for an issuer with {tenantid} in the tenant's place" if tenants else ""
    if not tenants:
        return f"issuer {issuer!r} is every tenant in the world; list in `tenants` those that count"
    if found.version == "1.0":
        return (
            f"issuer {issuer!r}: the keys of version 1.0 don't say which tenants they sign for; set "
            "requestedAccessTokenVersion = 2 in the API's manifest, or give each tenant an issuer of its own here"
        )
    return ""
