"""Whether a client's certificate leads to an authority: signatures, times, purpose, constraints, revocation.

The building and checking of the chain is the library's; what is stricter or laxer than its rules for the web stands
here. Stricter: the purpose must be said, the key must be strong, an authority's certificate is no client's. Laxer: a
subject alternative name may be missing, as in most companies' certificates for machines.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, VerificationError

from torchgate.access.identity.certificate_authority import Authority
from torchgate.access.identity.rejection import reject

MIN_RSA_BITS = 2048
"""Source: CA/Browser Forum Baseline Requirements 6.1.5; NIST SP 800-131A."""

_ANY = Criticality.AGNOSTIC


class _NotAllowed(ValueError):
    """What a certificate says of itself does not fit a client's."""


def verified_chain(leaf: x509.Certificate, authority: Authority, now: float) -> list[x509.Certificate]:
    """The certificates from a client's to a trusted one.

    Args:
        now: Unix seconds.

    Raises:
        RejectedCredential: there is no such chain; the detail says why in the library's words.
    """
    _refuse_weak_key(leaf)
    at = datetime.fromtimestamp(now, UTC)
    verifier = (
        PolicyBuilder()
        .store(authority.trusted)
        .time(at)
        .max_chain_depth(authority.settings.max_depth)
        .extension_policies(ca_policy=_authority_policy(), ee_policy=_client_policy())
        .build_client_verifier()
    )
    try:
        chain = verifier.verify(leaf, list(authority.intermediates)).chain
    except VerificationError as error:
        raise reject(f"certificate: {str(error).partition(' (encountered')[0][:200]}") from None
    if len(chain) < 2:
        raise reject("certificate: a trusted authority's own")
    _refuse_revoked(chain, authority, at)
    _refuse_others(leaf, authority)
    return chain


def ends_at(chain: list[x509.Certificate], authority: Authority) -> float:
    """Unix seconds after which the chain must be examined again: its first certificate or revocation list ends."""
    ends = [certificate.not_valid_after_utc for certificate in chain]
    if authority.lists is not None:
        lists = [authority.list_of(issuer) for issuer in chain[1:]]
        ends += [each.next_update_utc for each in lists if each is not None and each.next_update_utc is not None]
    return min(end.timestamp() for end in ends)


def dns_names(leaf: x509.Certificate) -> tuple[str, ...]:
    """The DNS names that a certificate carries."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.get_values_for_type(x509.DNSName))


def _client_policy() -> ExtensionPolicy:
    return (
        ExtensionPolicy.webpki_defaults_ee()
        .may_be_present(x509.SubjectAlternativeName, _ANY, None)
        .may_be_present(x509.AuthorityKeyIdentifier, _ANY, None)
        .may_be_present(x509.BasicConstraints, _ANY, _no_authority)
        .may_be_present(x509.KeyUsage, _ANY, _may_sign)
        .require_present(x509.ExtendedKeyUsage, _ANY, _is_for_clients)
    )


def _authority_policy() -> ExtensionPolicy:
    """As for the web, but roots made by OpenSSL's own settings say nothing of the use of their key."""
    return (
        ExtensionPolicy.webpki_defaults_ca()
        .may_be_present(x509.KeyUsage, _ANY, _may_sign_certificates)
        .may_be_present(x509.AuthorityKeyIdentifier, _ANY, None)
    )


def _is_for_clients(_: Policy, __: x509.Certificate, usage: x509.ExtendedKeyUsage) -> None:
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise _NotAllowed("its extended key usage is not clientAuth")


def _no_authority(_: Policy, __: x509.Certificate, constraints: x509.BasicConstraints | None) -> None:
    if constraints is not None and constraints.ca:
        raise _NotAllowed("an authority's certificate is no client's")


def _may_sign(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.digital_signature:
        raise _NotAllowed("its key usage is not digitalSignature")


def _may_sign_certificates(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise _NotAllowed("an authority's key usage is not keyCertSign")


def _refuse_weak_key(leaf: x509.Certificate) -> None:
    key = leaf.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise reject(f"certificate: an RSA key of {key.key_size} bits")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
            raise reject(f"certificate: the curve {key.curve.name}")
    elif not isinstance(key, ed25519.Ed25519PublicKey):
        raise reject("certificate: a kind of key that is not allowed")


def _refuse_revoked(chain: list[x509.Certificate], authority: Authority, at: datetime) -> None:
    if authority.lists is None:
        return
    for certificate, issuer in itertools.pairwise(chain):
        found = authority.list_of(issuer)
        if found is None:
            raise reject("certificate: no revocation list of its authority")
        if found.next_update_utc is None or found.next_update_utc <= at or found.last_update_utc > at:
            raise reject("certificate: the revocation list of its authority is out of date")
        if found.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise reject("certificate: revoked")


def _refuse_others(leaf: x509.Certificate, authority: Authority) -> None:
    """What this server allows of all that the authority signs."""
    settings = authority.settings
    if settings.subjects and leaf.subject.rfc4514_string() not in settings.subjects:
        raise reject("certificate: its subject is not one of the configured")
    if settings.dns_names and not any(_fits(name, settings.dns_names) for name in dns_names(leaf)):
        raise reject("certificate: it carries none of the configured DNS names")


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    lower = name.lower()
    behind = lower.partition(".")[2]
    return any(
        lower == pattern.lower() or (pattern.startswith("*.") and behind == pattern[2:].lower()) for pattern in patterns
    )
