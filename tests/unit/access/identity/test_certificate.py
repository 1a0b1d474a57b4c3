"""Client certificates: what an attacker holds, and what a company's authority really signs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st
from tests.rigs.certificates import CLIENT, DAY, SERVER, Issued, LocalAuthority, Wish, name_of
from tests.unit.access.local_issuer import NOW, Clock

from torchgate.access.build import build_access
from torchgate.access.certificate_settings import CertificateSettings
from torchgate.access.identity.certificate import MAX_DER_BYTES, ClientCertificates
from torchgate.access.identity.certificate_authority import AuthorityUnreadable, load_authority
from torchgate.access.identity.presented import Presented
from torchgate.access.policy.roles import Roles
from torchgate.access.settings import AccessSettings, IdentitySettings
from torchgate.contract.errors import RejectedCredential

AT = datetime.fromtimestamp(NOW, UTC)
ROOT, STRANGER = LocalAuthority("Plant Root", AT), LocalAuthority("Plant Root", AT)  # the same name, another key
MIDDLE = LocalAuthority("Plant Issuing", AT, ROOT)
GOOD = ROOT.issue()
SHA256_RSA, SHA1_RSA = bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d010105")


class Rig:
    """One authority `plant` from files, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock(NOW)
        (folder / "ca.pem").write_bytes(ROOT.pem)
        roles = Roles({"press": ("plant:sub:CN=press-7,O=Plant",), "one": (f"cert:{GOOD.thumbprint}",)})
        self.certificates = ClientCertificates((), with_roles=roles.given_to, wall_clock=self.clock)
        self.use()

    def use(self, **settings: Any) -> None:
        wanted = CertificateSettings(name="plant", ca_file=Path("ca.pem"), **settings)
        self.certificates.replace([load_authority(wanted, self.folder)])

    async def principal(self, der: bytes):  # type: ignore[no-untyped-def]
        return await self.certificates.authenticate(Presented(certificate=der))

    async def refusal(self, der: bytes) -> str:
        with pytest.raises(RejectedCredential) as caught:
            await self.principal(der)
        assert self.certificates.cached(Presented(certificate=der)) is None
        return caught.value.detail


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.mark.identity_case("client certificate", "a good one of a configured authority", "its principal")
async def test_a_certificate_is_its_principal_with_its_roles(rig: Rig) -> None:
    principal = await rig.principal(GOOD.der)
    assert (principal.key, principal.name) == (f"cert:{GOOD.thumbprint}", "press-7")
    assert (principal.method, principal.issuer) == ("certificate", "plant")
    assert principal.roles == {"press", "one"}
    assert principal.expires_at == GOOD.certificate.not_valid_after_utc.timestamp()


async def test_a_certificate_seen_before_costs_a_hash_until_it_ends(rig: Rig) -> None:
    presented = Presented(certificate=GOOD.der)
    assert rig.certificates.cached(presented) is None
    principal = await rig.principal(GOOD.der)
    assert rig.certificates.cached(presented) is principal
    rig.clock.at = GOOD.certificate.not_valid_after_utc.timestamp()
    assert rig.certificates.cached(presented) is None


def _made(**wish: Any) -> Callable[[], bytes]:
    return lambda: ROOT.issue(Wish(**wish)).der


ATTACKS: dict[str, Callable[[], bytes]] = {
    "another authority of the same name": (lambda: STRANGER.issue().der),
    "self-signed with a good one's subject": (lambda: _self_signed().der),
    "expired": (_made(ends=AT - timedelta(seconds=1))),
    "not yet valid": (_made(starts=AT + timedelta(seconds=1))),
    "the authority's own": (lambda: ROOT.issued.der),
    "an authority below it": (lambda: MIDDLE.issued.der),
    "an authority's that says it is for clients": (_made(is_authority=True)),
    "without an extended key usage": (_made(usage=())),
    "a server's": (_made(usage=SERVER)),
    "one for any purpose": (_made(usage=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,))),
    "one whose key may only encrypt": (lambda: _key_usage().der),
    "an RSA key of 1024 bits": (lambda: ROOT.issue(Wish(key=rsa.generate_private_key(65537, 1024))).der),
    "a key on a curve of little use": (lambda: ROOT.issue(Wish(key=ec.generate_private_key(ec.SECP224R1()))).der),
    "a critical extension that nobody knows": (lambda: _unknown_critical().der),
    "signed by a client's key": (lambda: _by_client().der),
    "its intermediate missing": (lambda: MIDDLE.issue().der),
    "an intermediate's bundle": (lambda: MIDDLE.issue().der + MIDDLE.issued.der),
    "two certificates": (lambda: GOOD.der + GOOD.der),
    "PEM instead of DER": (lambda: GOOD.pem),
    "one with a byte behind it": (lambda: GOOD.der + b"\0"),
    "one cut off": (lambda: GOOD.der[:-1]),
    "one with a bit changed": (lambda: GOOD.der[:-1] + bytes([GOOD.der[-1] ^ 1])),
    "nothing": (lambda: b""),
    "a length of 4 GB": (lambda: b"\x30\x84\xff\xff\xff\xff"),
    "a megabyte": (lambda: b"\x30\x83\x0f\xff\xff" + b"\0" * 1_000_000),
    "100,000 levels": (lambda: b"\x30\x80" * 100_000),
}


def _self_signed() -> Issued:
    stranger = LocalAuthority("press-7", AT)
    return stranger.issue(Wish(subject=GOOD.certificate.subject, key=stranger.issued.key))


def _key_usage() -> Issued:
    usage = x509.KeyUsage(False, False, True, False, False, False, False, False, False)
    return ROOT.issue(Wish(more=[(usage, True)]))


def _unknown_critical() -> Issued:
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    return ROOT.issue(Wish(more=[(unknown, True)]))


def _by_client() -> Issued:
    """The holder of a good certificate makes one for somebody else."""
    forger = LocalAuthority("forger", AT)
    forger.issued = GOOD
    return forger.issue(Wish(subject=name_of("admin", "Plant")))


@pytest.mark.identity_case(
    "client certificate",
    "self-signed, wrong authority of the same name, expired, not yet valid, an authority's own, without clientAuth, "
    "weak key, unknown critical extension, signed by a client, intermediate missing, garbage, two at once …",
    "401",
)
@pytest.mark.parametrize("case", ATTACKS)
async def test_what_an_attacker_shows_is_refused(rig: Rig, case: str) -> None:
    assert (await rig.refusal(ATTACKS[case]())).startswith("certificate: ")


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_without_surprise(data: bytes) -> None:
    certificates = ClientCertificates((), with_roles=lambda principal: principal, wall_clock=lambda: float(NOW))
    with pytest.raises(RejectedCredential) as caught:
        asyncio.run(certificates.authenticate(Presented(certificate=data)))
    assert "unexpected" not in caught.value.detail


async def test_a_certificate_larger_than_any_client_has_is_not_parsed(rig: Rig) -> None:
    assert "bytes" in await rig.refusal(b"\x30" * (MAX_DER_BYTES + 1))


async def test_a_chain_may_lead_over_intermediates_that_are_known_here(rig: Rig) -> None:
    (rig.folder / "between.pem").write_bytes(MIDDLE.pem)
    rig.use(intermediates_file=Path("between.pem"))
    assert (await rig.principal(MIDDLE.issue().der)).name == "press-7"
    rig.use(intermediates_file=Path("between.pem"), max_depth=0)
    assert "certificate" in await rig.refusal(MIDDLE.issue().der)


async def test_an_intermediate_alone_may_be_the_one_that_is_trusted(rig: Rig) -> None:
    (rig.folder / "ca.pem").write_bytes(MIDDLE.pem)
    rig.use()
    assert (await rig.principal(MIDDLE.issue().der)).name == "press-7"
    await rig.refusal(ROOT.issue().der)


@pytest.mark.identity_case("client certificate", "a name that its authority may not sign (name constraints)", "401")
async def test_an_authority_signs_only_names_that_it_may(rig: Rig) -> None:
    constraints = x509.NameConstraints([x509.DNSName("plant.example")], None)
    limited = LocalAuthority("Limited", AT, ROOT, more=[(constraints, True)])
    (rig.folder / "between.pem").write_bytes(limited.pem)
    rig.use(intermediates_file=Path("between.pem"))
    assert await rig.principal(limited.issue(Wish(names=[x509.DNSName("a.plant.example")])).der)
    await rig.refusal(limited.issue(Wish(names=[x509.DNSName("a.evil.example")])).der)


@pytest.mark.identity_case("client certificate", "signed with SHA-1", "401")
async def test_a_signature_with_sha1_is_refused(rig: Rig) -> None:
    """No library signs so any more: the name of the digest is exchanged, and signed anew by hand."""
    key = rsa.generate_private_key(65537, 2048)
    authority = LocalAuthority("RSA Root", AT, key=key)
    (rig.folder / "ca.pem").write_bytes(authority.pem)
    rig.use()
    modern = authority.issue()
    assert await rig.principal(modern.der)
    tbs = modern.certificate.tbs_certificate_bytes.replace(SHA256_RSA, SHA1_RSA)
    signature = key.sign(tbs, padding.PKCS1v15(), hashes.SHA1())
    old = modern.der.replace(SHA256_RSA, SHA1_RSA)[: -len(signature)] + signature
    assert x509.load_der_x509_certificate(old).signature_algorithm_oid.dotted_string == "1.2.840.113549.1.1.5"
    assert "signature" in (await rig.refusal(old)).lower()


@pytest.mark.identity_case("client certificate", "another subject, DNS name or thumbprint than configured", "401")
async def test_of_all_that_an_authority_signs_only_what_is_configured_counts(rig: Rig) -> None:
    other = ROOT.issue(Wish(subject=name_of("press-8", "Plant"), names=[x509.DNSName("p8.plant.example")]))
    rig.use(subjects=("CN=press-7,O=Plant",))
    assert await rig.principal(GOOD.der)
    assert "subject" in await rig.refusal(other.der)
    rig.use(dns_names=("*.plant.example",))
    assert await rig.principal(other.der)
    assert "DNS" in await rig.refusal(GOOD.der)
    rig.use(dns_names=("plant.example", "*.p8.plant.example"))
    assert "DNS" in await rig.refusal(other.der)
    rig.use(thumbprints=(GOOD.thumbprint,))
    assert await rig.principal(GOOD.der)
    assert "thumbprint" in await rig.refusal(other.der)


@pytest.mark.identity_case(
    "client certificate", "a subject that spells another's with commas in its common name", "401"
)
async def test_a_subject_can_not_be_spelt_by_a_common_name(rig: Rig) -> None:
    rig.use(subjects=("CN=press-7,O=Plant",))
    for common in ("press-7,O=Plant", "press-7\\,O=Plant", "press-7\0,O=Plant"):
        forged = ROOT.issue(Wish(subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])))
        assert "subject" in await rig.refusal(forged.der)


async def test_a_name_for_people_moves_no_cursor(rig: Rig) -> None:
    shown = (await rig.principal(ROOT.issue(Wish(subject=name_of("a\x1b[2J\r\nb\0"))).der)).name
    assert shown == "a?[2J??b?"


@pytest.mark.identity_case("client certificate", "a revoked one; one whose revocation list is out of date", "401")
async def test_a_revoked_certificate_is_refused_and_so_is_every_one_without_a_current_list(rig: Rig) -> None:
    gone = ROOT.issue(Wish(subject=name_of("press-8")))
    lists = rig.folder / "plant.crl"
    lists.write_bytes(ROOT.revoke(gone))
    rig.use(crl_file=Path("plant.crl"))
    principal = await rig.principal(GOOD.der)
    assert principal.expires_at == (AT + DAY).timestamp()  # then the list ends, and it is examined again
    assert "revoked" in await rig.refusal(gone.der)
    for out_of_date in (ROOT.revoke(ends=AT - timedelta(seconds=1)), ROOT.revoke(starts=AT + timedelta(seconds=1))):
        lists.write_bytes(out_of_date)
        rig.use(crl_file=Path("plant.crl"))
        assert "out of date" in await rig.refusal(GOOD.der)


async def test_each_authority_of_a_chain_needs_its_list(rig: Rig) -> None:
    leaf = MIDDLE.issue()
    (rig.folder / "between.pem").write_bytes(MIDDLE.pem)
    lists = rig.folder / "plant.crl"
    use = {"intermediates_file": Path("between.pem"), "crl_file": Path("plant.crl")}
    lists.write_bytes(ROOT.revoke())
    rig.use(**use)
    assert "no revocation list" in await rig.refusal(leaf.der)
    lists.write_bytes(ROOT.revoke() + MIDDLE.revoke())
    rig.use(**use)
    assert await rig.principal(leaf.der)
    lists.write_bytes(ROOT.revoke(MIDDLE.issued) + MIDDLE.revoke())
    rig.use(**use)
    assert "revoked" in await rig.refusal(leaf.der)


BAD_LISTS: dict[str, Callable[[], bytes]] = {
    "signed by another authority of the same name": STRANGER.revoke,
    "for some reasons only": lambda: ROOT.revoke(
        more=[
            (
                x509.IssuingDistributionPoint(
                    None, None, False, False, frozenset({x509.ReasonFlags.key_compromise}), False, False
                ),
                True,
            )
        ]
    ),
    "a difference to another": lambda: ROOT.revoke(more=[(x509.DeltaCRLIndicator(1), True)]),
    "garbage": lambda: b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    "a certificate": lambda: ROOT.pem,
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_a_list_that_can_not_be_relied_on_is_a_mistake_and_not_an_empty_list(rig: Rig, case: str) -> None:
    (rig.folder / "plant.crl").write_bytes(BAD_LISTS[case]())
    with pytest.raises(AuthorityUnreadable, match=r"plant\.crl"):
        rig.use(crl_file=Path("plant.crl"))


BAD_AUTHORITIES: dict[str, Callable[[], bytes]] = {
    "a client's certificate": lambda: GOOD.pem,
    "a private key beside it": lambda: ROOT.pem + ROOT.issued.key_pem(),
    "DER": lambda: ROOT.issued.der,
    "nothing": lambda: b"",
    "garbage": lambda: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
}


@pytest.mark.parametrize("case", BAD_AUTHORITIES)
def test_what_is_no_authority_is_a_mistake(rig: Rig, case: str) -> None:
    (rig.folder / "ca.pem").write_bytes(BAD_AUTHORITIES[case]())
    with pytest.raises(AuthorityUnreadable, match=r"ca\.pem"):
        rig.use()


async def test_of_several_authorities_the_first_that_vouches_counts(rig: Rig) -> None:
    (rig.folder / "other.pem").write_bytes(STRANGER.pem)
    office = load_authority(CertificateSettings(name="office", ca_file=Path("other.pem")), rig.folder)
    plant = load_authority(CertificateSettings(name="plant", ca_file=Path("ca.pem")), rig.folder)
    rig.certificates.replace([plant, office])
    assert (await rig.principal(GOOD.der)).issuer == "plant"
    assert (await rig.principal(STRANGER.issue().der)).issuer == "office"
    rig.certificates.replace([office])
    await rig.refusal(GOOD.der)  # what was believed before counts no more


async def test_what_companies_sign_is_taken(rig: Rig) -> None:
    """RSA, no alternative name, a principal name of Windows, several purposes, no basic constraints."""
    upn = x509.OtherName(ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x0da@plant.local")
    wishes = [
        Wish(key=rsa.generate_private_key(65537, 2048)),
        Wish(names=[upn]),
        Wish(usage=(*CLIENT, *SERVER, ObjectIdentifier("1.3.6.1.4.1.311.20.2.2"))),
        Wish(is_authority=None),
        Wish(key=ec.generate_private_key(ec.SECP384R1())),
    ]
    for wish in wishes:
        assert (await rig.principal(ROOT.issue(wish).der)).name == "press-7"


async def test_a_new_list_of_revoked_certificates_reaches_a_running_server(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    (tmp_path / "plant.crl").write_bytes(ROOT.revoke())
    configured = CertificateSettings(name="plant", ca_file=Path("ca.pem"), crl_file=Path("plant.crl"))
    settings = AccessSettings(identity=IdentitySettings(certificates=(configured,)), folder=tmp_path)
    authentication, authorisation = build_access(settings, wall_clock=Clock(NOW))
    presented = Presented(certificate=GOOD.der)
    assert (await authentication.authenticate(presented)).name == "press-7"
    (tmp_path / "plant.crl").write_bytes(ROOT.revoke(GOOD))
    for watch in authentication._watches:
        await watch.look_once()
    assert authentication.cached(presented) is None
    with pytest.raises(RejectedCredential):
        await authentication.authenticate(presented)
    authorisation.stop()
