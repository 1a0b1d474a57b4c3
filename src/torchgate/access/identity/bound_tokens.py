"""Tokens that are bound to a key of the client's: they count only from the client that has the key.

A certificate that TLS has proven on this very connection is such a proof (RFC 8705 section 3). A DPoP proof would be
another (RFC 9449); it is not examined here, so a token bound by it is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

from torchgate.access.identity.rejection import reject

_CERTIFICATE = "x5t#S256"


def bound_to(claims: Mapping[str, object]) -> str:
    """The certificate that a token is bound to: the text of `x5t#S256`; empty for a token that is not bound.

    Raises:
        RejectedCredential: it is bound to anything else, or to more.
    """
    if "cnf" not in claims:
        return ""
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or set(confirmation) != {_CERTIFICATE}:
        raise reject("bound token sent as bearer")
    thumbprint = confirmation[_CERTIFICATE]
    if not isinstance(thumbprint, str) or not thumbprint:
        raise reject("bound token sent as bearer")
    return thumbprint


def is_proven(thumbprint: str, certificate: bytes | None) -> bool:
    """Whether the certificate of this connection is the one that a token is bound to."""
    if certificate is None:
        return False
    digest = base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=")
    return hmac.compare_digest(digest, thumbprint.encode("utf-8", "surrogatepass"))
