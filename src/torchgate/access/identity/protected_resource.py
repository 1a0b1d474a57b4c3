"""The public description of this server for OAuth clients, from its settings alone (RFC 9728).

Nothing in it comes from a request: a server that builds such URLs from the Host header sends clients, and the tokens
that they get, to whomever an attacker names.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from torchgate.access.identity.dpop import PROOF_ALGORITHMS
from torchgate.access.identity.entra_issuer import TENANT
from torchgate.access.oidc_settings import OidcSettings
from torchgate.access.resource_settings import ResourceSettings

WELL_KNOWN = "/.well-known/oauth-protected-resource"


def bearer_challenge(settings: ResourceSettings | None) -> str:
    """The scheme Bearer, with where its issuers are described (RFC 9728 section 5.1)."""
    if settings is None:
        return "Bearer"
    parts = urlsplit(settings.url)
    return f'Bearer resource_metadata="{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path.rstrip("/")}"'


def takes_proofs(issuers: Sequence[OidcSettings]) -> bool:
    """Whether DPoP counts for some of them."""
    return any(issuer.dpop != "off" for issuer in issuers)


def dpop_challenge() -> str:
    """The scheme DPoP, with what a proof may be signed with (RFC 9449 section 7.1)."""
    return f'DPoP algs="{" ".join(PROOF_ALGORITHMS)}"'


def resource_document(settings: ResourceSettings | None, issuers: Sequence[OidcSettings]) -> bytes | None:
    """The description of this server, as JSON; None where nothing was configured.

    Args:
        issuers: whose tokens count. Of an issuer of many tenants the list of tenants stays private.
    """
    if settings is None:
        return None
    servers = settings.authorization_servers or tuple(
        issuer.issuer.replace(TENANT, "organizations") for issuer in issuers
    )
    members: dict[str, object] = {
        "resource": settings.url,
        "authorization_servers": servers,
        "bearer_methods_supported": ("header",),
        "dpop_signing_alg_values_supported": PROOF_ALGORITHMS if takes_proofs(issuers) else (),
        "dpop_bound_access_tokens_required": bool(issuers) and all(issuer.dpop == "required" for issuer in issuers),
        "scopes_supported": settings.scopes,
        "resource_name": settings.name,
        "resource_documentation": settings.documentation,
    }
    return msgspec.json.encode({name: value for name, value in members.items() if value})
