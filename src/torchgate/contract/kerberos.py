"""What is needed of a Kerberos library, by a server and by its client; `posix` and `windows` fill it."""

from __future__ import annotations

from typing import Protocol

import msgspec


class TicketRefused(Exception):
    """A ticket is not believed; the text is the class of failure, never a word of the ticket."""


class KerberosTicket(msgspec.Struct, frozen=True):
    """A caller whom a ticket has proven; repr shows no token.

    Args:
        client: its name, `alice@CORP.TEST`.
        service: ours, as the ticket names it, `HTTP/web.corp.test@CORP.TEST`.
        reply: proves us to the caller; it goes into the answer.
        lifetime_s: seconds that the ticket still lasts.
        logon_info: KERB_VALIDATION_INFO of the ticket's PAC, whose signature was examined; None: it has no PAC.
    """

    client: str
    service: str
    reply: bytes
    lifetime_s: float
    logon_info: bytes | None = None

    def __repr__(self) -> str:
        return f"KerberosTicket(client={self.client!r}, service={self.service!r})"


class KerberosAcceptor(Protocol):
    """Examines tickets with the service's key; may wait for a disk, so never on the event loop."""

    def accept(self, token: bytes) -> KerberosTicket:
        """The caller of a token as it stood behind `Negotiate `: the only one of its exchange.

        Raises:
            TicketRefused: it proves nobody, or it was used before.
        """
        ...


class NegotiationFailed(Exception):
    """A user can't be proven to a server, or the server not to its user; the text has never a word of a token."""


class Negotiation(Protocol):
    """One exchange that proves the user of this process to one server, and that server to the user (RFC 4559)."""

    @property
    def is_complete(self) -> bool:
        """Whether both ends are proven."""
        ...

    def step(self, token: bytes | None) -> bytes:
        """What to send next; empty: nothing more.

        Args:
            token: what the server said to the last; None: nothing was sent yet.

        Raises:
            NegotiationFailed: there is nothing to prove it with, or the server is another one.
        """
        ...
