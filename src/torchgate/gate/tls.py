"""Our own TLS: a context from files, replaced whole while the server listens."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from torchgate.contract.bounded_files import MAX_KEY_BYTES, read_bounded
from torchgate.gate.tls_key import TlsKey, TlsUnusable
from torchgate.gate.tls_settings import TlsSettings

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CIPHERS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption alone. Source: RFC 9325, section 4.2."""

_CLIENTS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class ReplaceableContext(ssl.SSLContext):
    """The context that a listener holds: each new connection gets whatever context is in force then.

    A listener keeps the context that it was given, and a context can't be emptied of the authorities that it trusts;
    so the one given hands each connection on. Connections that stand keep what they began with.
    """

    in_force: ssl.SSLContext

    def wrap_bio(self, *arguments: object, **named: object) -> ssl.SSLObject:
        """TLS for one connection."""
        return self.in_force.wrap_bio(*arguments, **named)  # type: ignore[arg-type]


def replaceable(context: ssl.SSLContext) -> ReplaceableContext:
    """A context for a listener, with this one in force."""
    outer = ReplaceableContext(ssl.PROTOCOL_TLS_SERVER)
    outer.in_force = context
    return outer


def tls_context(settings: TlsSettings, key: TlsKey, authorities: Sequence[Path] = ()) -> ssl.SSLContext:
    """The context that the files give now.

    Args:
        settings: its paths are absolute.
        key: of the certificate.
        authorities: files (PEM) of those that may sign clients' certificates.

    Raises:
        TlsUnusable: a file is missing, no PEM, or another's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.minimum_version]
    context.set_ciphers(_CIPHERS_1_2)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, settings.certificate_file, key)
    context.verify_mode = _CLIENTS[settings.client_certificates]
    if settings.client_certificates != "none":
        # An authority in the middle of a chain may be the one that is trusted, as in access, which examines it, too.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        for path in authorities:
            try:
                context.load_verify_locations(cafile=path)
            except OSError as error:  # SSLError is one
                raise TlsUnusable(f"{path} can't be used for client certificates: {_reason(error)}.") from None
    return context


def files_of(settings: TlsSettings) -> list[Path]:
    """What is read again when it changes."""
    return [path for path in (settings.certificate_file, settings.key_file) if path is not None]


def _load_pair(context: ssl.SSLContext, certificate: Path, key: TlsKey) -> None:
    try:
        read_bounded(certificate, MAX_KEY_BYTES)
    except OSError as error:
        raise TlsUnusable(f"{certificate} can't be read: {error.strerror or error}.") from None
    try:
        key.load(context, certificate)
    except (OSError, ValueError) as error:
        raise TlsUnusable(
            f"{certificate} and {key.place} make no pair for TLS: {_reason(error)}. "
            "The first holds the certificate and its chain, the second its private key, both in PEM."
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not understood").replace("_", " ").lower()
    if isinstance(error, OSError):
        return error.strerror or "not readable"
    return str(error)
