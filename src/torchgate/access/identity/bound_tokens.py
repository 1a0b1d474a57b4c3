"""Tokens that are bound to a key of the client's: they count only from the client that has the key.

A certificate that TLS has proven on this very connection is such a proof (RFC 8705 section 3). A DPoP proof is another
(RFC 9449), where the issuer's settings let it count; elsewhere a token bound by it is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

from torchgate.access.identity.rejection import reject

_CERTIFICATE = "x5t#S256"
_KEY = "jkt"


class Binding(NamedTuple):
    """What a token is bound to; at most one of both.

    Args:
        certificate: the text of `x5t#S256`.
        key: the text of `jkt`, the thumbprint of a key that DPoP proves.
    """

    certificate: str = ""
    key: str = ""


UNBOUND = Binding()


def bound_to(claims: Mapping[str, object], *, takes_proofs: bool = False) -> Binding:
    """What a token is bound to.

    Args:
        takes_proofs: whether it may be a key that DPoP proves.

    Raises:
        RejectedCredential: it is bound to anything else, or to more.
    """
    if "cnf" not in claims:
        return UNBOUND
    confirmation = claims["cnf"]
    if not isinstance(confirmation, dict) or len(confirmation) != 1:
        raise reject("bound token sent as bearer")
    ((kind, thumbprint),) = confirmation.items()
    if not isinstance(thumbprint, str) or not thumbprint:
        raise reject("bound token sent as bearer")
    if kind == _CERTIFICATE:
        return Binding(certificate=thumbprint)
    if kind == _KEY and takes_proofs:
        return Binding(key=thumbprint)
    raise reject("bound token sent as bearer")


def is_proven(thumbprint: str, certificate: bytes | None) -> bool:
    """Whether the certificate of this connection is the one that a token is bound to."""
    if certificate is None:
        return False
    digest = base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=")
    return hmac.compare_digest(digest, thumbprint.encode("utf-8", "surrogatepass"))
