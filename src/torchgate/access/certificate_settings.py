"""Whose client certificates count."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from torchgate.access.names import IssuerName
from torchgate.contract.settings_file import Settings

PathPrefix = Annotated[str, StringConstraints(pattern=r"^/[^\s?#%]{0,500}$")]
Subject = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
DnsName = Annotated[str, StringConstraints(pattern=r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?$")]


def _thumbprint(text: str) -> str:
    plain = text.replace(":", "").lower()
    if len(plain) != 64 or not set(plain) <= set("0123456789abcdef"):
        raise ValueError(
            f"{text!r} is not the SHA-256 of a certificate in hex (64 digits; colons may stand between); "
            "`openssl x509 -noout -fingerprint -sha256 -in FILE` prints it. The 40 digits that Windows shows are SHA-1"
        )
    return plain


Thumbprint = Annotated[str, AfterValidator(_thumbprint)]


class CertificateSettings(Settings):
    """One authority for client certificates (`[[identity.certificates]]`)."""

    name: IssuerName
    """What role members and audit call it, e.g. `plant` in `plant:sub:CN=press-7`."""
    ca_file: Path
    """Certificates of authorities that are trusted (PEM); whatever these sign for TLS clients counts."""
    intermediates_file: Path | None = None
    """Further authorities' certificates (PEM) that a chain may lead over; they are not trusted by themselves."""
    max_depth: Annotated[int, Field(ge=0, le=8)] = 3
    """How many authorities may stand between a client's certificate and a trusted one."""
    subjects: tuple[Subject, ...] = ()
    """Subjects that count, as RFC 4514 writes them (`CN=press-7,O=Plant`); empty: all."""
    dns_names: tuple[DnsName, ...] = ()
    """DNS names of which a certificate must carry one, `*.` for any first label; empty: none is needed."""
    thumbprints: tuple[Thumbprint, ...] = ()
    """SHA-256 of the certificates that count, in hex; empty: all that the authorities sign."""
    crl_file: Path | None = None
    """Revocation lists (PEM or DER). With it, every certificate needs a current list of its authority."""
