"""Client certificates: whose private key TLS has proven, examined here against the configured authorities.

Here and not by TLS alone, because a front door may be set up to take any certificate and only hand it on.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from torchgate.access.identity.certificate_authority import Authority
from torchgate.access.identity.certificate_chain import ends_at, verified_chain
from torchgate.access.identity.presented import Presented
from torchgate.access.identity.rejection import reject
from torchgate.contract.errors import CredentialProblem
from torchgate.contract.principal import Principal

MAX_DER_BYTES = 16 * 1024
"""Certificates of clients have 1 to 3 KB."""

_MAX_REMEMBERED = 4096
_log = logging.getLogger("torchgate.access")


class _Believed(msgspec.Struct, frozen=True):
    principal: Principal
    ends_at: float


class ClientCertificates:
    """Examines client certificates, and remembers those that it believed until they or a revocation list end.

    Args:
        authorities: in the order in which they are asked; the first that a certificate leads to counts.
        with_roles: gives a principal its roles.
        wall_clock: Unix seconds.

    Thread/process: one event loop.
    """

    def __init__(
        self,
        authorities: Sequence[Authority],
        *,
        with_roles: Callable[[Principal], Principal],
        wall_clock: Callable[[], float],
    ) -> None:
        self._with_roles = with_roles
        self._wall_clock = wall_clock
        self._authorities = tuple(authorities)
        self._believed: dict[bytes, _Believed] = {}

    def replace(self, authorities: Sequence[Authority]) -> None:
        """From now on these authorities count and no others; what was believed before is examined again."""
        self._authorities = tuple(authorities)
        self._believed = {}

    def cached(self, presented: Presented) -> Principal | None:
        """The principal of a certificate that was believed before and still counts."""
        der = presented.certificate
        if der is None or len(der) > MAX_DER_BYTES:
            return None
        digest = hashlib.sha256(der).digest()
        believed = self._believed.get(digest)
        if believed is None:
            return None
        if self._wall_clock() < believed.ends_at:
            return believed.principal
        del self._believed[digest]
        return None

    async def authenticate(self, presented: Presented) -> Principal:
        """The principal of a certificate; takes below a millisecond and no I/O.

        Raises:
            RejectedCredential: no configured authority vouches for it.
        """
        try:
            return self._examined(presented.certificate or b"")
        except CredentialProblem:
            raise
        except Exception as error:  # noqa: BLE001 - a certificate is the caller's: whatever it breaks, it is refused
            _log.warning("A certificate was refused because examining it raised %s.", type(error).__name__)
            raise reject(f"certificate: unexpected {type(error).__name__}") from None

    def _examined(self, der: bytes) -> Principal:
        leaf = parsed(der)
        refusal: CredentialProblem | None = None
        now = self._wall_clock()
        thumbprint = hashlib.sha256(der).hexdigest()
        for authority in self._authorities:
            allowed = authority.settings.thumbprints
            try:
                if allowed and thumbprint not in allowed:
                    raise reject("certificate: its thumbprint is not one of the configured")
                chain = verified_chain(leaf, authority, now)
            except CredentialProblem as problem:
                refusal = refusal or problem
                continue
            ends = ends_at(chain, authority)
            principal = self._with_roles(_principal(leaf, thumbprint, authority.settings.name, ends))
            self._remember(der, _Believed(principal, ends))
            return principal
        raise refusal or reject("certificate: no authority is configured")

    def _remember(self, der: bytes, believed: _Believed) -> None:
        if len(self._believed) >= _MAX_REMEMBERED:
            self._believed.pop(next(iter(self._believed)))
        self._believed[hashlib.sha256(der).digest()] = believed


def parsed(der: bytes) -> x509.Certificate:
    """One certificate, and nothing behind it.

    Raises:
        RejectedCredential: it is none, or a longer one than clients have.
    """
    if len(der) > MAX_DER_BYTES:
        raise reject(f"certificate: {len(der)} bytes")
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError:
        raise reject("certificate: no DER") from None


def _principal(leaf: x509.Certificate, thumbprint: str, authority: str, ends: float) -> Principal:
    subject = leaf.subject.rfc4514_string()
    return Principal(
        key=f"cert:{thumbprint}",
        name=_shown(leaf, subject),
        method="certificate",
        issuer=authority,
        marks=frozenset({f"cert:{thumbprint}", f"{authority}:sub:{subject}"}),
        credential_id=f"{leaf.serial_number:x}",
        expires_at=ends,
    )


def _shown(leaf: x509.Certificate, subject: str) -> str:
    """A name for people, without anything that moves a cursor."""
    common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(common[0].value) if len(common) == 1 else subject
    return "".join(character if character.isprintable() else "?" for character in name)[:200]
