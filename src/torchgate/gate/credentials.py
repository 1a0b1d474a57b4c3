"""The credentials that a caller puts into headers itself: one a request, in one form."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Set

from torchgate.access.identity.presented import Presented, Proof
from torchgate.contract.errors import RejectedCredential
from torchgate.gate.errors import MalformedCredential
from torchgate.gate.http_message import RequestHeaders

CONSUMED_SCHEMES = frozenset({b"negotiate", b"ntlm", b"kerberos", b"basic", b"digest"})
"""Schemes of Authorization that a front door has examined itself where it names a user, and leaves in the request."""

_AUTHORIZATION = re.compile(rb"([A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]*)(?: (.*))?", re.DOTALL)
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_API_KEY = re.compile(rb"[\x21-\x2b\x2d-\x7e]{1,512}")


def presented_credential(
    headers: RequestHeaders, *, consumed: Set[bytes] = frozenset(), takes_negotiate: bool = False
) -> Presented:
    """The one credential of a request, or none.

    Args:
        consumed: schemes of Authorization that count as not there.
        takes_negotiate: whether Negotiate is read here; else it is a scheme like any other.

    Raises:
        MalformedCredential: two credentials, or one that can't be read.
        RejectedCredential: a scheme that this server does not know.
    """
    authorization = headers.first(b"authorization")
    api_key = headers.first(b"x-api-key")
    if authorization is None and api_key is None:
        return Presented()
    if headers.is_repeated(b"authorization") or headers.is_repeated(b"x-api-key"):
        raise MalformedCredential("The credential's header was sent more than once; send it once.")
    if authorization is not None and consumed and authorization.partition(b" ")[0].lower() in consumed:
        authorization = None
    if authorization is not None and api_key is not None:
        raise MalformedCredential("Two kinds of credentials came with this request; send one.")
    if api_key is not None:
        if not _API_KEY.fullmatch(api_key):
            raise MalformedCredential("X-API-Key must hold one key: visible ASCII without spaces and commas.")
        return Presented(api_key=api_key.decode("ascii"))
    if authorization is None:
        return Presented()
    if authorization[:5].lower() == b"dpop ":
        return _with_proof(authorization[5:], headers)
    return _of_authorization(authorization, takes_negotiate)


def _of_authorization(authorization: bytes, takes_negotiate: bool) -> Presented:
    found = _AUTHORIZATION.fullmatch(authorization)
    if found is None:
        raise MalformedCredential("Authorization must be a scheme, one space, and one credential.")
    if b"," in authorization:
        raise MalformedCredential("Authorization holds more than one credential; send one.")
    scheme, rest = found[1].lower(), found[2] or b""
    if scheme == b"negotiate" and takes_negotiate:
        return Presented(negotiate=_negotiate(rest))
    if scheme != b"bearer":
        raise RejectedCredential("The credential was refused.", detail="an Authorization scheme other than Bearer")
    if not _TOKEN.fullmatch(rest):
        raise MalformedCredential("Authorization must be `Bearer`, one space, and one token.")
    return Presented(bearer=rest.decode("ascii"))


def _with_proof(token: bytes, headers: RequestHeaders) -> Presented:
    """Source: RFC 9449, section 7.1; whether any such token counts is decided by whoever examines it."""
    proof = headers.single(b"dpop")
    if not _TOKEN.fullmatch(token):
        raise MalformedCredential("Authorization must be `DPoP`, one space, and one token.")
    if proof is None:
        raise RejectedCredential("The credential was refused.", detail="a token under DPoP without the header DPoP")
    return Presented(bearer=token.decode("ascii"), proof=Proof(proof.decode("latin-1")))


def _negotiate(text: bytes) -> bytes:
    """Source: RFC 4559, section 4.2."""
    try:
        token = base64.b64decode(text, validate=True)
    except binascii.Error:
        token = b""
    if not token:
        raise MalformedCredential("Authorization must be `Negotiate`, one space, and one token in base64.")
    return token
