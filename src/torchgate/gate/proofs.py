"""What proves that the front door sent a request: a token of this process, a secret, a socket, a certificate."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Iterable
from typing import Protocol

from torchgate.gate.http_message import HttpRequest

PAIRING_HEADER = b"ms-aspnetcore-token"
"""IIS's modules send the pairing token in this header, HttpPlatformHandler v2, too (iis.md 1.3)."""

UNIX_PEER = "unix"
"""The peer of a request that came by a unix socket: it has no address."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Accepts = Callable[[bytes], bool]
"""Whether a text is a value of the shared secret now, in the same time whatever differs; asked for each request, so
that a rotation needs no restart. It is access.secrets.live_secret.LiveSecret.accepts."""


class Proof(Protocol):
    """One way to tell whether the front door sent a request."""

    def holds(self, request: HttpRequest) -> bool:
        """Whether it did. Never says why not: that would help whoever tries."""
        ...


class OwnSocket:
    """Nothing to prove: whoever reaches our socket is the caller itself."""

    def holds(self, request: HttpRequest) -> bool:
        """Always."""
        return True


class PairingProof:
    """IIS's module told this process a secret at its start, and sends it with each request.

    Args:
        token: as the environment has it.
    """

    def __init__(self, token: str) -> None:
        if not token:
            raise ValueError("the pairing token is empty, so that nothing could be proven")
        self._token = token.encode("utf-8")

    def holds(self, request: HttpRequest) -> bool:
        """Exactly one header, equal byte for byte, in the same time whatever differs."""
        values = request.headers.values(PAIRING_HEADER)
        return len(values) == 1 and hmac.compare_digest(values[0], self._token)


class PeerProof:
    """The connection comes from a listed address, or by our own unix socket.

    Args:
        peers: addresses and networks; none of them listed means nobody.
        is_unix: we listen on a unix socket, whose permissions say who may connect.
    """

    def __init__(self, peers: Iterable[str], *, is_unix: bool) -> None:
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(peer, strict=False) for peer in peers)
        self._is_unix = is_unix

    def holds(self, request: HttpRequest) -> bool:
        """Whether it does."""
        if self._is_unix:
            return request.peer == UNIX_PEER
        try:
            address = ipaddress.ip_address(request.peer)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            return any(address.ipv4_mapped in network for network in self._networks if network.version == 4)
        return any(address in network for network in self._networks if network.version == address.version)


class SecretProof:
    """The front door sends a shared secret in a header that it sets over whatever its client sent.

    Args:
        header: its name, in lower case.
        accepts: tells its values.
    """

    def __init__(self, header: bytes, accepts: Accepts) -> None:
        self._header = header
        self._accepts = accepts

    def holds(self, request: HttpRequest) -> bool:
        """Exactly one header, with one of the values."""
        values = request.headers.values(self._header)
        return len(values) == 1 and bool(values[0]) and self._accepts(values[0])


class CertificateProof:
    """The front door itself has shown a certificate on the connection, whose key TLS has proven to be its own.

    Args:
        thumbprints: SHA-256 of the certificates that count, in hex.
    """

    def __init__(self, thumbprints: Iterable[str]) -> None:
        self._thumbprints = frozenset(thumbprint.lower() for thumbprint in thumbprints)

    def holds(self, request: HttpRequest) -> bool:
        """Whether it has."""
        shown = request.tls_certificate
        return shown is not None and hashlib.sha256(shown).hexdigest() in self._thumbprints


class AllOf:
    """Several proofs, of which each must hold.

    Args:
        proofs: at least one.
    """

    def __init__(self, *proofs: Proof) -> None:
        if not proofs:
            raise ValueError("no proof is no proof")
        self._proofs = proofs

    def holds(self, request: HttpRequest) -> bool:
        """Whether all do."""
        return all(proof.holds(request) for proof in self._proofs)
