"""What proves that the front door sent a request, and what does not."""

from __future__ import annotations

import hashlib

import pytest
from tests.rigs.door_requests import door_request

from torchgate.gate.proofs import AllOf, CertificateProof, PairingProof, PeerProof, SecretProof

TOKEN = "6f1b4c9e-0000-4000-8000-1234567890ab"
HEADER = b"ms-aspnetcore-token"


def test_the_pairing_token_proves_iis_in_any_case_of_the_headers_name() -> None:
    assert PairingProof(TOKEN).holds(door_request((b"MS-ASPNETCORE-TOKEN", TOKEN.encode())))


@pytest.mark.identity_case("ancm", "the pairing token absent, wrong, in other letters, or twice", "400, empty body")
@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((HEADER, b""),),
        ((HEADER, TOKEN.upper().encode()),),
        ((HEADER, TOKEN[:-1].encode()),),
        ((HEADER, TOKEN.encode() + b" "),),
        ((HEADER, b"x, " + TOKEN.encode()),),
        ((HEADER, TOKEN.encode()), (HEADER, TOKEN.encode())),
        ((HEADER, TOKEN.encode()), (HEADER, b"x")),
        ((b"ms_aspnetcore_token", TOKEN.encode()),),
        ((b"x-ms-aspnetcore-token", TOKEN.encode()),),
        ((HEADER, b"\xff"),),
    ],
)
def test_nothing_else_proves_iis(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """The attacker is a program on this machine that found the loopback port."""
    assert not PairingProof(TOKEN).holds(door_request(*headers))


def test_an_empty_pairing_token_is_no_proof_at_all() -> None:
    """An environment variable that is there and empty must not be matched by an empty header."""
    with pytest.raises(ValueError, match="empty"):
        PairingProof("")


@pytest.mark.parametrize("peer", ["10.1.2.3", "192.0.2.5", "2001:db8::7", "::ffff:10.1.2.3"])
def test_listed_peers_are_let_in(peer: str) -> None:
    assert PeerProof(["10.1.2.0/24", "192.0.2.5", "2001:db8::/64"], is_unix=False).holds(door_request(peer=peer))


@pytest.mark.identity_case("proxy", "a connection from an address that is not listed", "400, empty body")
@pytest.mark.parametrize("peer", ["10.1.3.1", "192.0.2.6", "2001:db8:1::7", "127.0.0.1", "unix", "", "x"])
def test_all_others_are_not(peer: str) -> None:
    assert not PeerProof(["10.1.2.0/24", "192.0.2.5", "2001:db8::/64"], is_unix=False).holds(door_request(peer=peer))


def test_no_list_lets_nobody_in() -> None:
    assert not PeerProof([], is_unix=False).holds(door_request(peer="127.0.0.1"))


def test_on_a_unix_socket_its_permissions_are_the_list() -> None:
    assert PeerProof([], is_unix=True).holds(door_request(peer="unix"))
    assert not PeerProof([], is_unix=True).holds(door_request(peer="127.0.0.1"))


def test_each_accepted_value_of_the_secret_proves_the_proxy() -> None:
    proof = SecretProof(b"x-proxy", {b"now", b"before"}.__contains__)
    assert [proof.holds(door_request((b"x-proxy", value))) for value in (b"now", b"before")] == [True, True]


@pytest.mark.identity_case("proxy", "the secret absent, wrong, empty, or twice", "400, empty body")
@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"x-proxy", b""),),
        ((b"x-proxy", b"NOW"),),
        ((b"x-proxy", b"now"), (b"x-proxy", b"now")),
        ((b"x-proxy", b"now, now"),),
        ((b"x_proxy", b"now"),),
    ],
)
def test_no_other_value_does(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    assert not SecretProof(b"x-proxy", {b"now", b""}.__contains__).holds(door_request(*headers))


def test_a_secret_may_change_while_the_server_runs() -> None:
    accepted = [b"old"]
    proof = SecretProof(b"x-proxy", lambda sent: sent in accepted)
    accepted[:] = [b"new"]
    assert not proof.holds(door_request((b"x-proxy", b"old")))
    assert proof.holds(door_request((b"x-proxy", b"new")))


def test_the_proxys_own_certificate_proves_it_and_no_other() -> None:
    proof = CertificateProof([hashlib.sha256(b"proxy").hexdigest().upper()])
    assert proof.holds(door_request(certificate=b"proxy"))
    assert not proof.holds(door_request(certificate=b"another"))
    assert not proof.holds(door_request())


def test_of_several_proofs_all_must_hold() -> None:
    both = AllOf(PeerProof(["10.0.0.1"], is_unix=False), SecretProof(b"x-proxy", {b"now"}.__contains__))
    assert both.holds(door_request((b"x-proxy", b"now"), peer="10.0.0.1"))
    assert not both.holds(door_request((b"x-proxy", b"now"), peer="10.0.0.2"))
    assert not both.holds(door_request(peer="10.0.0.1"))


def test_no_proof_is_none() -> None:
    with pytest.raises(ValueError, match="no proof"):
        AllOf()
