"""Authorities and certificates for tests, also such as no honest authority would make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from torchgate.secret_places import private_files

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
DAY = timedelta(days=1)


def name_of(common: str, organisation: str = "") -> x509.Name:
    """CN, and O where there is one."""
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def new_key() -> ec.EllipticCurvePrivateKey:
    """P-256: quick to make."""
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Issued:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)

    @property
    def der(self) -> bytes:
        """As TLS hands it over."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """As files have it."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def thumbprint(self) -> str:
        """SHA-256 in hex."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def key_pem(self, password: bytes | None = None) -> bytes:
        """The private key."""
        encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    def write(self, folder: Path, name: str, chain: Sequence[Issued] = ()) -> tuple[Path, Path]:
        """`name.pem` with the chain, and `name.key` for its owner alone."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(b"".join(one.pem for one in (self, *chain)))
        key.unlink(missing_ok=True)
        private_files().write_new(key, self.key_pem())
        return certificate, key


@dataclass(kw_only=True)
class Wish:
    """What a certificate shall say; the values given are those of an honest client's."""

    subject: x509.Name = field(default_factory=lambda: name_of("press-7", "Plant"))
    is_authority: bool | None = False
    usage: Sequence[x509.ObjectIdentifier] = CLIENT
    key: PrivateKey | None = None
    digest: hashes.HashAlgorithm | None = field(default_factory=hashes.SHA256)
    starts: datetime | None = None
    ends: datetime | None = None
    names: Sequence[x509.GeneralName] = ()
    more: Sequence[tuple[x509.ExtensionType, bool]] = ()
    path_length: int | None = None
    serial: int | None = None


class LocalAuthority:
    """Signs whatever it is asked to.

    Args:
        at: the time around which its certificates are good.
        issuer: the authority above it; None: it is a root.
    """

    def __init__(
        self,
        common: str,
        at: datetime,
        issuer: LocalAuthority | None = None,
        *,
        key: PrivateKey | None = None,
        more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> None:
        self.at = at
        key = key or new_key()
        wish = Wish(subject=name_of(common), is_authority=True, usage=(), key=key, ends=at + 3650 * DAY, more=more)
        self.issued = _made(wish, wish.subject, key, at) if issuer is None else issuer.issue(wish)

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.issued.pem

    def issue(self, wish: Wish | None = None) -> Issued:
        """A certificate, whatever it is asked to say."""
        return _made(wish or Wish(), self.issued.certificate.subject, self.issued.key, self.at)

    def server(self, *hosts: str) -> Issued:
        """A server's certificate for names and addresses."""
        names = [_host(host) for host in hosts]
        return self.issue(Wish(subject=name_of(hosts[0]), usage=SERVER, names=names))

    def revoke(
        self,
        *revoked: Issued,
        starts: datetime | None = None,
        ends: datetime | None = None,
        more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        """A revocation list, PEM."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.issued.certificate.subject)
            .last_update(starts or self.at - DAY)
            .next_update(ends or self.at + DAY)
        )
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(self.at - DAY).build())
        for extension, critical in more:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.issued.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _made(wish: Wish, issuer: x509.Name, signing_key: PrivateKey, at: datetime) -> Issued:
    key = wish.key or new_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(wish.subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(wish.serial or x509.random_serial_number())
        .not_valid_before(wish.starts or at - DAY)
        .not_valid_after(wish.ends or at + 90 * DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), False)
    )
    if wish.is_authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(wish.is_authority, wish.path_length), True)
    if wish.is_authority:
        builder = builder.add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), True
        )
    if wish.usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wish.usage), False)
    if wish.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(wish.names), False)
    for extension, critical in wish.more:
        builder = builder.add_extension(extension, critical)
    return Issued(builder.sign(signing_key, wish.digest), key)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def now() -> datetime:
    """For certificates that real programs shall take."""
    return datetime.now(UTC)
