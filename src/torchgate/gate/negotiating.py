"""HTTP's Negotiate from the client's side: as many rounds on one connection as both ends want (RFC 4559)."""

from __future__ import annotations

import base64
import http.client
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torchgate.contract.kerberos import Negotiation, NegotiationFailed

MAX_ROUNDS = 4
"""Kerberos takes one, NTLM two; one more where a clock was wrong. A server that wants more only wants to go on."""

_NTLM = b"NTLMSSP\0"
"""In each of its messages, wrapped or not. Source: MS-NLMP, section 2.2.1."""

_REDIRECTS = 300  # below is what a caller would take for an answer
_CHALLENGE = re.compile(r"(?:^|,)\s*negotiate\s+([A-Za-z0-9+/]+=*)\s*(?=,|$)", re.IGNORECASE)


class Received(NamedTuple):
    """One answer.

    Args:
        challenges: values of WWW-Authenticate.
    """

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def negotiated(ask: Callable[[Mapping[str, str]], Received], negotiation: Negotiation, *, is_tls: bool) -> Received:
    """The answer to a request that proves who sends it.

    NTLM proves no server to its client: whoever is at the other end can pass it on to another server. So it goes by TLS
    alone, which has proven the server before; also on this machine, where a port may be anybody's.

    Args:
        ask: sends the request with these headers, on one connection, and gives its answer.
        negotiation: a fresh one.
        is_tls: whether TLS has proven the server.

    Raises:
        NegotiationFailed: there is nothing to prove it with, or the server is not the one that it was asked to be.
        OSError: as `ask` raises.
    """
    token = negotiation.step(None)
    for _ in range(MAX_ROUNDS):
        if _NTLM in token and not is_tls:
            raise NegotiationFailed(
                "there is no Kerberos for it, and NTLM, which proves no server, goes by https alone"
            )
        received = ask({"Authorization": f"Negotiate {base64.b64encode(token).decode('ascii')}"})
        said = _token(received.headers)
        if received.status != http.client.UNAUTHORIZED:
            if said and not negotiation.is_complete:
                negotiation.step(said)  # the server's own proof
            if received.status < _REDIRECTS and not negotiation.is_complete:
                raise NegotiationFailed("the server answered without a proof of itself")
            return received
        if not said or negotiation.is_complete:
            return received
        token = negotiation.step(said)
        if not token:
            return received
    raise NegotiationFailed(f"the server asked for more than {MAX_ROUNDS} rounds")


def _token(headers: http.client.HTTPMessage) -> bytes:
    """What the server says behind `Negotiate`; empty: nothing."""
    for value in headers.get_all("WWW-Authenticate") or ():
        found = _CHALLENGE.search(value)
        if found:
            try:
                return base64.b64decode(found[1], validate=True)
            except ValueError:
                raise NegotiationFailed("the server's part of the exchange can't be read") from None
    return b""
