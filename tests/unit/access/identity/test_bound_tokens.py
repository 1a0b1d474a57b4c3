"""Tokens that are bound to a certificate count from the client that has proven to own it, and from nobody else."""

from __future__ import annotations

import base64
import hashlib

import pytest
from tests.unit.access.identity.test_authenticate import authentication
from tests.unit.access.local_issuer import LocalIssuer, tokens_of

from torchgate.access.identity.authenticate import Authentication
from torchgate.access.identity.presented import Presented
from torchgate.contract.errors import InvalidRequest, RejectedCredential

ISSUER = LocalIssuer("ES256")
MINE, OTHER = b"certificate of the client", b"certificate of another"


def thumbprint(certificate: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode()


def bound(cnf: object) -> str:
    return ISSUER.token(ISSUER.claims(cnf=cnf))


TOKEN = bound({"x5t#S256": thumbprint(MINE)})


@pytest.fixture
def door() -> Authentication:
    """Authentication that trusts the issuer."""
    made = authentication()
    made._tokens = tokens_of(ISSUER)
    return made


@pytest.mark.identity_case("bearer", "a token bound to a certificate, over a connection that has proven it", "counts")
@pytest.mark.parametrize("presented", [{"tls_certificate": MINE}, {"tls_certificate": MINE, "certificate": MINE}])
async def test_a_bound_token_counts_with_its_certificate(door: Authentication, presented: dict[str, bytes]) -> None:
    """Also on a path where the certificate alone would be a credential: it is part of the token."""
    sent = Presented(bearer=TOKEN, **presented)
    found = await door.authenticate(sent)
    assert found.key == "corp|https://id.example|alice"
    assert door.cached(sent) is found


@pytest.mark.identity_case(
    "bearer", "a token bound to a certificate, with another one or none, also once believed", "401"
)
@pytest.mark.parametrize(
    "presented", [{}, {"tls_certificate": OTHER}, {"tls_certificate": OTHER, "certificate": OTHER}], ids=str
)
async def test_a_stolen_bound_token_is_refused_also_after_its_owner_used_it(
    door: Authentication, presented: dict[str, bytes]
) -> None:
    await door.authenticate(Presented(bearer=TOKEN, tls_certificate=MINE))
    stolen = Presented(bearer=TOKEN, **presented)
    assert door.cached(stolen) is None
    with pytest.raises(RejectedCredential):
        await door.authenticate(stolen)


@pytest.mark.identity_case("bearer", "a token bound by DPoP, or to several things, with a proven certificate", "401")
@pytest.mark.parametrize(
    "cnf",
    [
        {"jkt": "x"},
        {"jkt": "x", "x5t#S256": thumbprint(MINE)},
        {"x5t#S256": thumbprint(MINE) + "="},
        {"x5t#S256": ""},
        {"x5t#S256": [thumbprint(MINE)]},
        {"x5t#S256": "\u00e9"},
        {"x5t": thumbprint(MINE)},
        {"jwk": {}},
        {},
        None,
        thumbprint(MINE),
    ],
    ids=str,
)
async def test_no_other_binding_is_proven_by_a_certificate(door: Authentication, cnf: object) -> None:
    sent = Presented(bearer=bound(cnf), tls_certificate=MINE)
    with pytest.raises(RejectedCredential, match=r".*") as caught:
        await door.authenticate(sent)
    assert caught.value.detail == "bound token sent as bearer"


@pytest.mark.identity_case("bearer", "a plain token and a certificate where certificates are credentials", "400")
async def test_a_plain_token_beside_a_certificate_is_two_credentials(door: Authentication) -> None:
    plain = ISSUER.token()
    both = Presented(bearer=plain, certificate=MINE, tls_certificate=MINE)
    for _ in range(2):
        assert door.cached(both) is None
        with pytest.raises(InvalidRequest):
            await door.authenticate(both)
        assert await door.authenticate(Presented(bearer=plain, tls_certificate=MINE)), "elsewhere it says nothing"


@pytest.mark.identity_case(
    "bearer", "a remembered token beside a user whom a proxy names, or a Negotiate ticket", "400"
)
async def test_a_remembered_token_beside_another_kind_is_two_credentials(door: Authentication) -> None:
    plain = ISSUER.token()
    await door.authenticate(Presented(bearer=plain))
    both = Presented(bearer=plain, negotiate=b"ticket")
    assert door.cached(both) is None
    with pytest.raises(InvalidRequest):
        await door.authenticate(both)
