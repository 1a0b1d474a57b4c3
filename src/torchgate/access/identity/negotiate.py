"""Kerberos tickets: one round, never remembered; users and groups are SIDs where the ticket has a PAC."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
from collections.abc import Callable, Iterable

from torchgate.access.identity.lookup_thread import LookupThread
from torchgate.access.identity.pac import PacMalformed, read_logon_info
from torchgate.access.identity.presented import Presented, Reply
from torchgate.access.identity.rejection import RETRY_AFTER_S, reject
from torchgate.access.identity.windows_token import WINDOWS_ISSUER
from torchgate.access.negotiate_settings import NegotiateSettings
from torchgate.access.sids import is_nearly_everybody, nobody
from torchgate.contract.errors import CredentialProblem, IssuerUnavailable
from torchgate.contract.kerberos import KerberosAcceptor, KerberosTicket, TicketRefused
from torchgate.contract.principal import Principal

NEGOTIATE_ISSUER = "negotiate"
MAX_WAITING = 64
"""Tickets; one takes about a millisecond."""

_TIMEOUT_S = 5.0
_AT = re.compile(r"(?<!\\)@")  # not one that is escaped
_log = logging.getLogger("torchgate.access")


class KerberosUsers:
    """Makes principals of tickets, on a thread of its own, because the library waits for a disk.

    Args:
        settings: whose tickets count.
        acceptor: asked on the thread.
        thread: for these questions alone.
        with_roles: gives a principal its roles.
        configured_sids: SIDs that roles name; of the groups that nearly everybody is in, these alone count.
        wall_clock: Unix seconds.
    """

    def __init__(
        self,
        settings: NegotiateSettings,
        *,
        acceptor: KerberosAcceptor,
        thread: LookupThread,
        with_roles: Callable[[Principal], Principal],
        configured_sids: frozenset[str],
        wall_clock: Callable[[], float],
    ) -> None:
        self._realms = frozenset(settings.realms)
        self._acceptor = acceptor
        self._thread = thread
        self._with_roles = with_roles
        self._configured_sids = configured_sids
        self._wall_clock = wall_clock

    def cached(self, presented: Presented) -> Principal | None:
        """Never: a ticket's token that comes twice is a replay."""
        return None

    async def authenticate(self, presented: Presented) -> Principal:
        """The principal; the proof that we are who we say goes into `presented.reply`, and what was proven, too.

        Whoever presents that reply again is the same request, and is examined by the ticket that it has proven.

        Raises:
            RejectedCredential: the ticket proves nobody, or was used before.
            IssuerUnavailable: too many tickets wait.
        """
        if presented.negotiate is None:
            raise reject("no Kerberos ticket")
        try:
            reply = Reply() if presented.reply is None else presented.reply
            if reply.ticket is None:
                reply.ticket = await self._accepted(presented.negotiate)
                reply.ends_at = self._wall_clock() + reply.ticket.lifetime_s
            elif self._wall_clock() >= reply.ends_at:
                raise TicketRefused("its ticket has ended since")
            principal = self._principal(reply.ticket, reply.ends_at)
        except TicketRefused as refusal:
            raise reject(f"Kerberos: {refusal}") from None
        except PacMalformed as malformed:
            raise reject(f"Kerberos: the PAC can't be read: {malformed}") from None
        except CredentialProblem:
            raise
        except Exception as error:  # noqa: BLE001 - a ticket is the caller's: whatever it breaks, it is refused
            _log.warning("A Kerberos ticket was refused because examining it raised %s.", type(error).__name__)
            raise reject(f"Kerberos: unexpected {type(error).__name__}") from None
        reply.token = reply.ticket.reply
        return self._with_roles(principal)

    async def _accepted(self, token: bytes) -> KerberosTicket:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[KerberosTicket] = loop.create_future()

        def settle(ticket: KerberosTicket | None, failure: Exception | None) -> None:
            if future.done():
                return  # whoever asked may be gone
            if ticket is not None:
                future.set_result(ticket)
            elif failure is not None:
                future.set_exception(failure)

        def ask() -> None:
            ticket, failure = None, None
            try:
                ticket = self._acceptor.accept(token)
            except Exception as error:  # noqa: BLE001 - it is told to the one who asked
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(functools.partial(settle, ticket, failure))

        if not self._thread.ask(ask):
            raise _unavailable("too many Kerberos tickets wait")
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await future
        except TimeoutError:
            raise _unavailable("Kerberos gave no answer in time") from None

    def _principal(self, ticket: KerberosTicket, ends_at: float) -> Principal:
        realm = realm_of(ticket.client)
        if realm != realm_of(ticket.service) and realm not in self._realms:
            raise TicketRefused("the caller's realm is not one of the configured")
        name = "".join(character if character.isprintable() else "?" for character in ticket.client)[:256]
        if ticket.logon_info is None:
            return _without_pac(ticket, name, ends_at)
        found = read_logon_info(ticket.logon_info)
        if who := nobody(found.user):
            raise TicketRefused(f"a user who is {who}")
        return Principal(
            key=found.user,
            name=name,
            method="negotiate",
            issuer=WINDOWS_ISSUER,
            marks=self._marks((found.user, *found.groups)) | {f"{NEGOTIATE_ISSUER}:sub:{ticket.client}"},
            denial_marks=self._marks(found.denial_groups),
            credential_id=ticket.service,
            expires_at=ends_at,
        )

    def _marks(self, sids: Iterable[str]) -> frozenset[str]:
        configured = self._configured_sids
        return frozenset(f"sid:{sid}" for sid in sids if sid in configured or not is_nearly_everybody(sid))


def _without_pac(ticket: KerberosTicket, name: str, ends_at: float) -> Principal:
    """Known by name alone: of another kind of realm, or one that was told to leave the PAC out."""
    return Principal(
        key=f"{NEGOTIATE_ISSUER}|{ticket.client}",
        name=name,
        method="negotiate",
        issuer=WINDOWS_ISSUER,
        marks=frozenset({f"{NEGOTIATE_ISSUER}:sub:{ticket.client}"}),
        groups_known=False,
        credential_id=ticket.service,
        expires_at=ends_at,
    )


def realm_of(name: str) -> str:
    """The realm of a Kerberos name.

    Raises:
        TicketRefused: it has none, or could be read in two ways: a realm may itself hold an escaped `@`.
    """
    parts = _AT.split(name)
    if len(parts) != 2 or not parts[1]:
        raise TicketRefused("a name without one realm")
    return parts[1]


def _unavailable(reason: str) -> IssuerUnavailable:
    return IssuerUnavailable(
        "Kerberos tickets can't be examined now; try again.", detail=reason, retry_after_s=RETRY_AFTER_S
    )
