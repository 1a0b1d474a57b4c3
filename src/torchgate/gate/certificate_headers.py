"""A client's certificate as each front door writes it into a header; what comes out is DER, or a refusal."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal
from urllib.parse import unquote_to_bytes

from torchgate.gate.errors import MalformedCredential

CertificateFormat = Literal["der", "nginx", "apache", "rfc9440"]

MAX_HEADER_BYTES = 48 * 1024
"""A certificate is 1 to 4 KiB; percent signs treble it."""

_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")
_MALFORMED = "The front door's header of the client certificate holds no certificate."


def certificate_der(value: bytes, form: CertificateFormat) -> bytes:
    """The DER bytes of the certificate in a header. Whether it is a certificate, who examines it will see.

    Args:
        value: of the header, which came once.
        form: how the front door writes it: `der` base64 of DER (IIS's modules, ARR); `nginx` PEM behind percent signs
            (`$ssl_client_escaped_cert`); `apache` PEM with its line ends as spaces (`%{SSL_CLIENT_CERT}s`); `rfc9440`
            base64 between colons (`Client-Cert`).

    Raises:
        MalformedCredential: it is in no such form.
    """
    if len(value) > MAX_HEADER_BYTES:
        raise MalformedCredential(_MALFORMED)
    der = _READERS[form](value)
    if not _is_one_sequence(der):
        raise MalformedCredential(_MALFORMED)
    return der


def _is_one_sequence(der: bytes) -> bool:
    """Whether these bytes are one SEQUENCE from begin to end, as every certificate is. Source: X.690, section 8.1.3."""
    if len(der) < 2 or der[0] != 0x30:
        return False
    if der[1] < 0x80:
        return len(der) == 2 + der[1]
    width = der[1] - 0x80
    return 1 <= width <= 3 and len(der) == 2 + width + int.from_bytes(der[2 : 2 + width], "big")


def _base64_der(text: bytes) -> bytes:
    if not _BASE64.fullmatch(text) or len(text) % 4:
        raise MalformedCredential(_MALFORMED)
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise MalformedCredential(_MALFORMED) from None


def _pem_der(text: bytes) -> bytes:
    """Of the first and only block; a second one could be another reader's first."""
    found = _PEM.fullmatch(text)
    if found is None:
        raise MalformedCredential(_MALFORMED)
    return _base64_der(b"".join(found[1].split()))


def _escaped_pem_der(text: bytes) -> bytes:
    return _pem_der(unquote_to_bytes(text))


def _rfc9440_der(text: bytes) -> bytes:
    """A structured byte sequence. Source: RFC 9440, section 2.2."""
    if len(text) < 2 or text[:1] != b":" or text[-1:] != b":":
        raise MalformedCredential(_MALFORMED)
    return _base64_der(text[1:-1])


_READERS: Mapping[CertificateFormat, Callable[[bytes], bytes]] = MappingProxyType(
    {"der": _base64_der, "nginx": _escaped_pem_der, "apache": _pem_der, "rfc9440": _rfc9440_der}
)
