"""A configured authority for client certificates, read from its files; a bad file is no authority at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import Store

from torchgate.access.certificate_settings import CertificateSettings
from torchgate.contract.bounded_files import read_bounded

_MAX_CERTIFICATES = 200
_MAX_BYTES = 4 << 20
_PEM_LIST = b"-----BEGIN X509 CRL-----"
_PEM_LIST_END = b"-----END X509 CRL-----"


class AuthorityUnreadable(ValueError):
    """A file of an authority can't be used; the sentence names it."""


class Authority(msgspec.Struct, frozen=True):
    """What a chain is examined against.

    Args:
        trusted: where chains may end.
        intermediates: what they may lead over.
        lists: revocation list by the public key of who signed it; None: revocation is not looked at.
    """

    settings: CertificateSettings
    trusted: Store
    intermediates: tuple[x509.Certificate, ...]
    lists: Mapping[bytes, x509.CertificateRevocationList] | None

    def list_of(self, issuer: x509.Certificate) -> x509.CertificateRevocationList | None:
        """The revocation list that this authority's certificate signed."""
        return None if self.lists is None else self.lists.get(public_key_of(issuer))


def load_authority(settings: CertificateSettings, folder: Path) -> Authority:
    """An authority as its files are now.

    Args:
        folder: where relative paths start.

    Raises:
        AuthorityUnreadable: one of them can't be used.
    """
    trusted = read_authorities(folder / settings.ca_file)
    more = () if settings.intermediates_file is None else read_authorities(folder / settings.intermediates_file)
    lists = None if settings.crl_file is None else _lists(folder / settings.crl_file, (*trusted, *more))
    return Authority(settings, Store(list(trusted)), more, lists)


def files_of(settings: CertificateSettings) -> list[Path]:
    """All files of an authority."""
    return [path for path in (settings.ca_file, settings.intermediates_file, settings.crl_file) if path is not None]


def read_authorities(path: Path) -> tuple[x509.Certificate, ...]:
    """The authorities' certificates in a PEM file.

    Raises:
        AuthorityUnreadable: it can't be read, or holds something else.
    """
    content = _read(path)
    if b"PRIVATE KEY" in content:
        raise AuthorityUnreadable(f"{path} holds a private key. Only certificates belong here; take it out.")
    try:
        certificates = tuple(x509.load_pem_x509_certificates(content))
    except ValueError:
        raise AuthorityUnreadable(f"{path} is no file of certificates in PEM (-----BEGIN CERTIFICATE-----).") from None
    if len(certificates) > _MAX_CERTIFICATES:
        raise AuthorityUnreadable(f"{path} has {len(certificates)} certificates; {_MAX_CERTIFICATES} are allowed.")
    for certificate in certificates:
        if not _is_authority(certificate):
            raise AuthorityUnreadable(
                f"{path}: {certificate.subject.rfc4514_string()!r} is no authority's certificate (CA:TRUE). "
                "To let single certificates count, name their authority here and them in thumbprints."
            )
    return certificates


def last_day(certificates: Sequence[x509.Certificate]) -> datetime:
    """When the last of some certificates ends."""
    return max(certificate.not_valid_after_utc for certificate in certificates)


def public_key_of(certificate: x509.Certificate) -> bytes:
    """Its public key, DER."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


def _lists(path: Path, signers: Sequence[x509.Certificate]) -> Mapping[bytes, x509.CertificateRevocationList]:
    found: dict[bytes, x509.CertificateRevocationList] = {}
    for each in _parsed_lists(path):
        signer = next((one for one in signers if one.subject == each.issuer and _has_signed(one, each)), None)
        if signer is None:
            raise AuthorityUnreadable(
                f"{path}: the revocation list of {each.issuer.rfc4514_string()!r} is signed by no authority in "
                "ca_file or intermediates_file."
            )
        key = public_key_of(signer)
        if key not in found or _made_at(found[key]) < _made_at(each):
            found[key] = each
    return found


def _parsed_lists(path: Path) -> list[x509.CertificateRevocationList]:
    content = _read(path)
    try:
        if _PEM_LIST in content:
            parts = content.split(_PEM_LIST)[1:]
            lists = [x509.load_pem_x509_crl(_PEM_LIST + part.split(_PEM_LIST_END)[0] + _PEM_LIST_END) for part in parts]
        else:
            lists = [x509.load_der_x509_crl(content)]
        for each in lists:
            _refuse_partial(each, path)
    except (ValueError, x509.DuplicateExtension) as error:
        if isinstance(error, AuthorityUnreadable):
            raise
        raise AuthorityUnreadable(f"{path} is no revocation list in PEM or DER.") from None
    return lists


def _refuse_partial(each: x509.CertificateRevocationList, path: Path) -> None:
    """A list that says nothing of some certificates would let revoked ones through."""
    for extension in each.extensions:
        if extension.critical:
            raise AuthorityUnreadable(
                f"{path}: the revocation list of {each.issuer.rfc4514_string()!r} is a partial one "
                f"(extension {extension.oid.dotted_string}). Name a complete list."
            )


def _has_signed(signer: x509.Certificate, each: x509.CertificateRevocationList) -> bool:
    try:
        usage = signer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is not None and not usage.crl_sign:
        return False
    try:
        return each.is_signature_valid(signer.public_key())  # type: ignore[arg-type]
    except (UnsupportedAlgorithm, TypeError, ValueError):
        return False


def _made_at(each: x509.CertificateRevocationList) -> datetime:
    return each.last_update_utc or datetime.min.replace(tzinfo=UTC)


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, _MAX_BYTES)
    except OSError as error:
        raise AuthorityUnreadable(f"{path} can't be read: {error.strerror or error}.") from None
