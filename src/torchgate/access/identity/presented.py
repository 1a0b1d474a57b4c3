"""What one request presents, as its front door found it."""

from __future__ import annotations

from typing import Literal

import msgspec

from torchgate.contract.kerberos import KerberosTicket
from torchgate.contract.windows_tokens import TokenFacts

Kind = Literal["bearer", "api_key", "windows", "certificate", "asserted", "negotiate"]


class AssertedUser(msgspec.Struct, frozen=True):
    """A user whom a front door names, which has proven to be that front door.

    Args:
        user: as it says, unchanged.
        groups: as it says; None where it can't tell, so that they are unknown.
        is_windows_account: it is the name of a Windows account, which IIS has authenticated (FastCGI).
    """

    user: str
    groups: tuple[str, ...] | None = None
    is_windows_account: bool = False


class Reply(msgspec.Struct):
    """What an authenticator has to say to the caller, for WWW-Authenticate of the answer; repr shows it not.

    Args:
        token: of Kerberos, that proves us; empty: nothing.
        ticket: what this very request has proven: its token proves nobody a second time, and a long request is asked
            again who sends it.
        ends_at: of the ticket, Unix seconds.
    """

    token: bytes = b""
    ticket: KerberosTicket | None = None
    ends_at: float = 0.0

    def __repr__(self) -> str:
        return "Reply()"


class Proof(msgspec.Struct):
    """What came in the header DPoP, beside a token under the scheme DPoP; repr shows it not.

    Args:
        text: as it came.
        method: of the request.
        path: of the request, not decoded, below the place where we are mounted.
        has_counted: it has proven this very request; it proves no other.
    """

    text: str
    method: str = ""
    path: str = ""
    has_counted: bool = False

    def __repr__(self) -> str:
        return "Proof()"


class Presented(msgspec.Struct, frozen=True):
    """The credentials of one request; at most one kind counts, and repr shows none.

    Args:
        bearer: what stood after `Bearer ` in Authorization, or after `DPoP `: then with a proof.
        api_key: what stood in X-API-Key.
        windows: what a Windows token said, whose handle is closed by now.
        certificate: the client's certificate, DER, whose private key TLS has proven to be the client's.
        asserted: a user whom the front door names.
        negotiate: what stood after `Negotiate ` in Authorization, decoded.
        tls_certificate: the client's certificate, DER, on any path where one came and TLS has proven its key: what a
            bound token (RFC 8705) is compared with. By itself no credential: that is `certificate`, which the front
            door fills only on paths that are configured for certificates.
        proof: that the caller holds the key of its token; no credential by itself.
        reply: where the authenticator puts what it has to say to the caller; None: nobody would pass it on.
    """

    bearer: str | None = None
    api_key: str | None = None
    windows: TokenFacts | None = None
    certificate: bytes | None = None
    asserted: AssertedUser | None = None
    negotiate: bytes | None = None
    tls_certificate: bytes | None = None
    proof: Proof | None = None
    reply: Reply | None = None

    def kinds(self) -> tuple[Kind, ...]:
        """Which kinds are there."""
        return tuple(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def has_further_kinds(self) -> bool:
        """Whether there are other kinds than bearer tokens and API keys: asked on every request."""
        return not (
            self.windows is None and self.certificate is None and self.asserted is None and self.negotiate is None
        )

    def __repr__(self) -> str:
        return f"Presented({', '.join(self.kinds())})"


KINDS: tuple[Kind, ...] = ("bearer", "api_key", "windows", "certificate", "asserted", "negotiate")
