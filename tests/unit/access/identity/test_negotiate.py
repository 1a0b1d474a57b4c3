"""Kerberos tickets become principals; the library that examines them is a stand-in here, a real one elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.unit.access.identity.test_pac import DOMAIN_SID, encoded
from tests.unit.access.local_issuer import NOW, Clock

from torchgate.access.identity.lookup_thread import LookupThread
from torchgate.access.identity.negotiate import KerberosUsers, realm_of
from torchgate.access.identity.presented import Presented, Reply
from torchgate.access.negotiate_settings import NegotiateSettings
from torchgate.access.policy.roles import Roles
from torchgate.contract.errors import IssuerUnavailable, RejectedCredential
from torchgate.contract.kerberos import KerberosTicket, TicketRefused
from torchgate.contract.principal import Principal

SERVICE = "HTTP/web.corp.test@CORP.TEST"
ROLES = Roles(
    {
        "analyst": (f"sid:{DOMAIN_SID}-1107",),
        "barred": (f"sid:{DOMAIN_SID}-600",),
        "named": ("negotiate:sub:alice@CORP.TEST",),
    }
)


class StandIn:
    """Gives the ticket that it was told to, or raises; implements KerberosAcceptor."""

    def __init__(self) -> None:
        self.found: Callable[[], KerberosTicket] = ticket
        self.threads: set[str] = set()

    def accept(self, token: bytes) -> KerberosTicket:
        self.threads.add(threading.current_thread().name)
        return self.found()


def ticket(client: str = "alice@CORP.TEST", logon_info: bytes | None = None) -> KerberosTicket:
    return KerberosTicket(client, SERVICE, b"reply", 600.0, logon_info)


class Rig:
    def __init__(self, **settings: object) -> None:
        self.acceptor = StandIn()
        self.thread = LookupThread("torchgate-kerberos", 2)
        self.clock = Clock(NOW)
        self._settings = NegotiateSettings(keytab=Path("k"), **settings)  # type: ignore[arg-type]
        self.users = self.with_roles(ROLES)

    def with_roles(self, roles: Roles) -> KerberosUsers:
        return KerberosUsers(
            self._settings,
            acceptor=self.acceptor,
            thread=self.thread,
            with_roles=roles.given_to,
            configured_sids=roles.sids(),
            wall_clock=self.clock,
        )

    async def principal(self, found: Callable[[], KerberosTicket] | None = None) -> Principal:
        if found is not None:
            self.acceptor.found = found
        return await self.users.authenticate(Presented(negotiate=b"token"))

    async def refusal(self, found: Callable[[], KerberosTicket]) -> str:
        with pytest.raises(RejectedCredential) as caught:
            await self.principal(found)
        return caught.value.detail


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    await rig.thread.stop()


async def test_a_user_with_a_pac_is_its_sid_with_its_groups(rig: Rig) -> None:
    info = encoded(groups=((1107, 7), (513, 7)))
    principal = await rig.principal(lambda: ticket(logon_info=info))
    assert (principal.key, principal.name) == (f"{DOMAIN_SID}-1102", "alice@CORP.TEST")
    assert (principal.method, principal.issuer, principal.groups_known) == ("negotiate", "windows", True)
    assert principal.roles == {"analyst", "named"}
    assert principal.denied_roles == frozenset()
    assert principal.expires_at == NOW + 600


@pytest.mark.identity_case("Kerberos", "a ticket without a PAC", "known by name; every denial on a group applies")
async def test_without_a_pac_groups_are_unknown_so_that_denials_on_groups_apply(rig: Rig) -> None:
    principal = await rig.principal(ticket)
    assert (principal.key, principal.groups_known) == ("negotiate|alice@CORP.TEST", False)
    assert principal.roles == {"named"}
    assert principal.denied_roles == {"analyst", "barred"}


async def test_a_group_for_denials_alone_denies(rig: Rig) -> None:
    principal = await rig.principal(lambda: ticket(logon_info=encoded(groups=((600, 0x10), (1107, 0x10)))))
    assert principal.roles == {"named"}
    assert principal.denied_roles == {"analyst", "barred"}


@pytest.mark.identity_case("Kerberos", "a user of another realm, trusted by the domain or not", "401 unless configured")
@pytest.mark.parametrize(
    "client",
    [
        "alice@EVIL.TEST", "alice@corp.test", "alice@CORP.TEST.EVIL", "alice", "alice@", "alice@EVIL.TEST\\@CORP.TEST",
        "alice\\@CORP.TEST", "alice@EVIL.TEST@CORP.TEST", "",
    ],
)  # fmt: skip
async def test_a_caller_of_another_realm_is_refused(rig: Rig, client: str) -> None:
    assert (await rig.refusal(lambda: ticket(client))).startswith("Kerberos: ")


async def test_a_configured_realm_counts() -> None:
    rig = Rig(realms=("OTHER.TEST",))
    assert (await rig.principal(lambda: ticket("bob@OTHER.TEST"))).key == "negotiate|bob@OTHER.TEST"
    await rig.thread.stop()


def test_an_at_sign_in_a_name_is_no_realm() -> None:
    assert realm_of("a\\@EVIL.TEST@CORP.TEST") == "CORP.TEST"


async def test_what_the_library_refuses_is_refused_in_its_words(rig: Rig) -> None:
    def replayed() -> KerberosTicket:
        raise TicketRefused("Request is a replay")

    assert await rig.refusal(replayed) == "Kerberos: Request is a replay"


async def test_a_library_that_breaks_lets_nobody_in(rig: Rig) -> None:
    def broken() -> KerberosTicket:
        raise ZeroDivisionError("alice's ticket")

    assert await rig.refusal(broken) == "Kerberos: unexpected ZeroDivisionError"
    assert "alice" not in await rig.refusal(lambda: ticket(logon_info=b"garbage"))


async def test_the_guest_is_nobody(rig: Rig) -> None:
    assert "Guest" in await rig.refusal(lambda: ticket(logon_info=encoded("Guest", user=501)))


async def test_nothing_is_remembered_and_everything_runs_on_one_thread_of_its_own(rig: Rig) -> None:
    presented = Presented(negotiate=b"token")
    for _ in range(3):
        assert rig.users.cached(presented) is None
        await rig.users.authenticate(presented)
    assert rig.acceptor.threads == {"torchgate-kerberos"}


async def test_the_proof_of_ourselves_goes_back_only_after_the_caller_is_believed(rig: Rig) -> None:
    reply = Reply()
    await rig.users.authenticate(Presented(negotiate=b"token", reply=reply))
    assert reply.token == b"reply"
    refused = Reply()
    rig.acceptor.found = lambda: ticket("alice@EVIL.TEST")
    with pytest.raises(RejectedCredential):
        await rig.users.authenticate(Presented(negotiate=b"token", reply=refused))
    assert refused.token == b""


async def test_more_tickets_than_can_wait_are_put_off_and_not_refused(rig: Rig) -> None:
    """A library that hangs must not pile up threads or requests, nor let anybody in."""
    go_on = threading.Event()

    def hangs() -> KerberosTicket:
        go_on.wait(120)
        return ticket()

    rig.acceptor.found = hangs
    waiting = [asyncio.create_task(rig.users.authenticate(Presented(negotiate=b"token"))) for _ in range(8)]
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
    assert all(isinstance(task.exception(), IssuerUnavailable) for task in done)
    assert len(pending) <= 3
    go_on.set()
    assert {task.result().name for task in pending if await asyncio.wait_for(task, 120)} == {"alice@CORP.TEST"}


async def test_a_request_that_was_given_up_hurts_nobody(rig: Rig) -> None:
    go_on = threading.Event()

    def hangs() -> KerberosTicket:
        go_on.wait(120)
        return ticket()

    rig.acceptor.found = hangs
    gone = asyncio.create_task(rig.users.authenticate(Presented(negotiate=b"token")))
    await asyncio.sleep(0)
    gone.cancel()
    go_on.set()
    assert (await rig.principal(ticket)).name == "alice@CORP.TEST"


@pytest.mark.identity_case("Kerberos", "a stream that asks on after its ticket has ended", "401 for its next question")
async def test_a_request_that_lasts_is_proven_by_its_own_ticket_until_that_ends(rig: Rig) -> None:
    """The token is not shown to the library again, which would call it a replay; roles are those of now."""
    presented = Presented(negotiate=b"token", reply=Reply())
    first = await rig.users.authenticate(presented)

    def replay() -> KerberosTicket:
        raise TicketRefused("used before")

    rig.acceptor.found = replay
    rig.clock.at = NOW + 599
    assert await rig.users.authenticate(presented) == first
    assert (await rig.with_roles(Roles({"new": ("negotiate:sub:alice@CORP.TEST",)})).authenticate(presented)).roles == {
        "new"
    }
    rig.clock.at = NOW + 600
    with pytest.raises(RejectedCredential) as caught:
        await rig.users.authenticate(presented)
    assert caught.value.detail == "Kerberos: its ticket has ended since"
    with pytest.raises(RejectedCredential):
        await rig.users.authenticate(Presented(negotiate=b"token", reply=Reply()))
