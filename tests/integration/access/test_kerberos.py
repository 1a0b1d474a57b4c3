"""Kerberos as it is: a real domain controller, real tickets, curl and the system's GSSAPI library."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.rigs.gate_rig import GateRig, gate_rig
from tests.rigs.http_connection import Answer, HttpConnection
from tests.rigs.samba_ad import HOST, REALM, SERVICE, Domain, missing_programs, running_domain

from torchgate.access.build import build_access
from torchgate.access.identity.pac import read_logon_info
from torchgate.access.identity.presented import Presented
from torchgate.access.negotiate_settings import NegotiateSettings
from torchgate.access.neighbours import AccessNeighbours
from torchgate.access.settings import AccessSettings, IdentitySettings
from torchgate.contract.decision import Action
from torchgate.contract.kerberos import KerberosTicket, TicketRefused
from torchgate.gate.asgi import GateApp
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.front_door import FrontDoor
from torchgate.gate.http_server import HttpServer

pytestmark = [
    pytest.mark.linux("Samba's domain controller and MIT's Kerberos"),
    pytest.mark.timeout(900),
]
SPNEGO = "1.3.6.1.5.5.2"
MODEL = "/v2/models/double"


@pytest.fixture(scope="module")
def domain() -> Iterator[Domain]:
    if missing := missing_programs():
        pytest.skip(f"needs {missing}: apt-get install samba samba-ad-provision krb5-user curl")
    pytest.importorskip("gssapi", reason="needs gssapi: pip install torchgate[kerberos]")
    with running_domain() as domain:
        before = dict(os.environ)
        os.environ.update(domain.environment())
        for user in ("alice", "bjørn", "mallory"):
            domain.log_in(user)
        yield domain
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def acceptor(domain: Domain) -> Any:
    return accepting(domain.keytab)


def accepting(keytab: Path, service: str = f"{SERVICE}@{REALM}") -> Any:
    from torchgate.posix.kerberos import GssapiAcceptor

    return GssapiAcceptor(keytab, service)


def token_of(domain: Domain, user: str = "alice", service: str = f"HTTP@{HOST}", mechanism: str = SPNEGO) -> bytes:
    """What a browser of this user would send."""
    import gssapi

    credentials = gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{domain.folder}/{user}.cc"})
    context = gssapi.SecurityContext(
        name=gssapi.Name(service, gssapi.NameType.hostbased_service),
        creds=credentials,
        mech=gssapi.OID.from_int_seq(mechanism),
        usage="initiate",
    )
    token = context.step()
    assert token is not None
    return bytes(token)


def refusal(acceptor: Any, token: bytes) -> str:
    with pytest.raises(TicketRefused) as caught:
        acceptor.accept(token)
    return str(caught.value)


@asynccontextmanager
async def gate(domain: Domain, acceptor: Any) -> AsyncIterator[GateRig]:
    """A gate that takes tickets; alice's group may do everything."""
    rig = gate_rig()
    settings = AccessSettings(
        identity=IdentitySettings(negotiate=NegotiateSettings(keytab=domain.keytab)),
        roles={"analyst": (f"sid:{domain.sid_of('scientists')}",)},
        folder=domain.folder,
    )
    authentication, authorisation = build_access(settings, neighbours=AccessNeighbours(kerberos=acceptor))
    rig.policy.allowed = {(domain.sid_of("alice"), action) for action in Action}
    await authentication.start()
    services = dataclasses.replace(
        rig.services(), front_door=FrontDoor(FRONT_DOORS["direct"], (HOST,)), authentication=authentication
    )
    server = HttpServer(GateApp(services), rig.settings)
    await server.start()
    rig.port = server.port
    try:
        yield rig
    finally:
        await server.stop(5.0)
        await authentication.stop()
        authorisation.stop()


async def asked(rig: GateRig, token: bytes | None, headers: dict[str, str] | None = None) -> Answer:
    connection = HttpConnection(rig.port)
    sent = {} if token is None else {"Authorization": f"Negotiate {base64.b64encode(token).decode()}"}
    answer = await connection.request("GET", MODEL, {**sent, **(headers or {})})
    await connection.close()
    return answer


async def curl(rig: GateRig, domain: Domain, user: str, *arguments: str) -> tuple[str, str]:
    """Status and the last WWW-Authenticate of a request by curl."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--negotiate", "-u", ":", "--resolve", f"{HOST}:{rig.port}:127.0.0.1", "-o", "/dev/null",
        "-w", "%{http_code} %header{www-authenticate}", *arguments, f"http://{HOST}:{rig.port}{MODEL}",
        env=domain.environment(user), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    status, _, header = said.decode().partition(" ")
    return status, header


@pytest.mark.identity_case("Kerberos", "a ticket of the domain's user, by curl", "its SID, and its nested groups' SIDs")
async def test_curl_of_a_domain_user_is_served(domain: Domain, acceptor: Any) -> None:
    async with gate(domain, acceptor) as rig:
        assert (await curl(rig, domain, "alice"))[0] == "200"
        principal = rig.seen[-1].principal
        assert principal is not None
        assert (principal.key, principal.name) == (domain.sid_of("alice"), f"alice@{REALM}")
        assert principal.roles == {"analyst"}  # by a group in which another group of hers is
        assert (await curl(rig, domain, "mallory"))[0] == "403"


@pytest.mark.identity_case("Kerberos", "no ticket", "401 with the challenge Negotiate")
async def test_without_a_ticket_the_challenge_says_that_one_would_do(domain: Domain, acceptor: Any) -> None:
    async with gate(domain, acceptor) as rig:
        assert (await curl(rig, domain, "nobody"))[0] == "401"
        answer = await asked(rig, None)
        assert answer.status == 401
        # Names come once in this connection's headers, the last one: Bearer stands before it.
        assert answer.headers["www-authenticate"] == "Negotiate"


async def test_the_answer_proves_the_server_to_its_caller(domain: Domain, acceptor: Any) -> None:
    import gssapi

    context = gssapi.SecurityContext(
        name=gssapi.Name(f"HTTP@{HOST}", gssapi.NameType.hostbased_service),
        creds=gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{domain.folder}/alice.cc"}),
        mech=gssapi.OID.from_int_seq(SPNEGO),
        flags=[gssapi.RequirementFlag.mutual_authentication],
        usage="initiate",
    )
    async with gate(domain, acceptor) as rig:
        answer = await asked(rig, context.step())
        assert answer.status == 200
        scheme, _, token = answer.headers["www-authenticate"].partition(" ")
        context.step(base64.b64decode(token))
        assert (scheme, context.complete) == ("Negotiate", True)


@pytest.mark.identity_case("Kerberos", "a ticket's token for the second time, also to another process", "401")
async def test_a_token_counts_once(domain: Domain, acceptor: Any) -> None:
    token = token_of(domain)
    async with gate(domain, acceptor) as rig:
        assert (await asked(rig, token)).status == 200
        again = await asked(rig, token)
        assert again.status == 401
        assert rig.seen[-1].credential_reason == "Kerberos: Request is a replay"
    assert refusal(accepting(domain.keytab), token) == "Request is a replay"


@pytest.mark.identity_case("Kerberos", "NTLM, also inside Negotiate", "401")
async def test_ntlm_is_refused(domain: Domain, acceptor: Any) -> None:
    ntlm = b"NTLMSSP\0\1\0\0\0\x07\x82\x08\xa2" + b"\0" * 24
    inside = bytes.fromhex("604006062b0601050502a0363034a00e300c060a2b06010401823702020aa2220420") + ntlm[:32]
    async with gate(domain, acceptor) as rig:
        for token in (ntlm, inside):
            assert (await asked(rig, token)).status == 401
        assert (await asked(rig, None, {"Authorization": "NTLM TlRMTVNTUAABAAAA"})).status in {400, 401}


@pytest.mark.identity_case("Kerberos", "a ticket and a bearer token or API key", "400")
async def test_a_ticket_and_a_key_are_one_too_many(domain: Domain, acceptor: Any) -> None:
    async with gate(domain, acceptor) as rig:
        assert (await asked(rig, token_of(domain), {"X-API-Key": "tg_a_b_c"})).status == 400


@pytest.mark.identity_case("Kerberos", "a foreign page's request, to which the browser adds a ticket", "403")
async def test_a_foreign_page_can_not_use_the_ticket_in_the_browser(domain: Domain, acceptor: Any) -> None:
    async with gate(domain, acceptor) as rig:
        assert (await asked(rig, token_of(domain), {"Origin": "https://evil.example"})).status == 403


@pytest.mark.identity_case("Kerberos", "a token with any one bit changed, cut off, or garbage", "401")
def test_a_token_that_was_touched_is_refused(domain: Domain, acceptor: Any) -> None:
    token = token_of(domain)
    for place in range(0, len(token), 37):
        touched = token[:place] + bytes([token[place] ^ 1]) + token[place + 1 :]
        try:
            found: KerberosTicket | None = acceptor.accept(touched)
        except TicketRefused:
            found = None
        # A few bits are no part of the proof (lengths that are not read, a list of further mechanisms).
        assert found is None or found.client == f"alice@{REALM}"
    for garbage in (b"", b"\x60", token[:-1], token[:100], b"\x60\x84\xff\xff\xff\xff" + token, token * 40):
        refusal(acceptor, garbage)


@pytest.mark.identity_case("Kerberos", "a ticket for another service whose key is not ours", "401")
def test_a_ticket_for_another_service_is_refused(domain: Domain, acceptor: Any) -> None:
    refusal(acceptor, token_of(domain, service="HTTP@old.corp.test"))


@pytest.mark.identity_case("Kerberos", "a ticket for another service whose key is in our keytab, too", "401")
def test_only_the_configured_service_counts(domain: Domain) -> None:
    both = domain.new_keytab("both.keytab", "HTTP/old.corp.test")
    domain.new_keytab("both.keytab", SERVICE, is_more=True)
    assert accepting(both, "").accept(token_of(domain, service="HTTP@old.corp.test")).client == f"alice@{REALM}"
    refusal(accepting(both), token_of(domain, service="HTTP@old.corp.test"))
    assert accepting(both).accept(token_of(domain)).client == f"alice@{REALM}"


@pytest.mark.identity_case("Kerberos", "Kerberos' own token without SPNEGO around it", "401")
def test_a_token_without_spnego_is_refused(domain: Domain, acceptor: Any) -> None:
    assert refusal(acceptor, token_of(domain, mechanism="1.2.840.113554.1.2.2")) == "no SPNEGO token"


def test_names_of_all_letters_and_nested_groups_come_through(domain: Domain, acceptor: Any) -> None:
    found = acceptor.accept(token_of(domain, "bjørn"))
    info = read_logon_info(found.logon_info)
    assert (found.client, info.account, info.user) == (f"bjørn@{REALM}", "bjørn", domain.sid_of("bjørn"))
    assert {domain.sid_of("analysts"), domain.sid_of("scientists")} <= set(info.groups)


@pytest.mark.identity_case(
    "Kerberos", "a ticket under the service's former key", "401 once the keytab has the new alone"
)
def test_a_new_key_of_the_service_counts_without_a_restart(domain: Domain) -> None:
    keytab = domain.new_keytab("changing.keytab", "HTTP/old.corp.test")
    acceptor = accepting(keytab, f"HTTP/old.corp.test@{REALM}")
    old = token_of(domain, service="HTTP@old.corp.test")
    assert acceptor.accept(old).client == f"alice@{REALM}"
    under_former_key = token_of(domain, service="HTTP@old.corp.test")
    domain.set_password("oldsvc", "An0ther!Passw0rd")
    domain.new_keytab("changing.keytab", "HTTP/old.corp.test")
    refusal(acceptor, under_former_key)
    domain.log_in("alice")
    assert acceptor.accept(token_of(domain, service="HTTP@old.corp.test")).client == f"alice@{REALM}"


async def test_the_environment_can_not_switch_the_memory_of_replays_off(
    domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRB5RCACHENAME", "none:")
    monkeypatch.setenv("KRB5RCACHETYPE", "none")
    acceptor = accepting(domain.keytab)
    token = token_of(domain)
    acceptor.accept(token)
    assert refusal(acceptor, token) == "Request is a replay"


@pytest.mark.parametrize("case", ["missing", "garbage", "another service"])
def test_a_keytab_that_can_not_be_used_is_said_at_start(domain: Domain, case: str) -> None:
    from torchgate.posix.kerberos import KerberosUnavailable

    garbage = domain.folder / "garbage.keytab"
    garbage.write_bytes(b"garbage")
    cases: dict[str, Callable[[], object]] = {
        "missing": lambda: accepting(domain.folder / "none.keytab"),
        "garbage": lambda: accepting(garbage),
        "another service": lambda: accepting(domain.keytab, f"HTTP/other.corp.test@{REALM}"),
    }
    with pytest.raises(KerberosUnavailable, match="keytab"):
        cases[case]()


def test_presented_tickets_are_not_shown(domain: Domain) -> None:
    token = token_of(domain)
    assert token.hex() not in repr(Presented(negotiate=token))
    assert "Presented(negotiate)" in repr(Presented(negotiate=token))


@pytest.fixture(scope="module")
def here(domain: Domain) -> Any:
    """An acceptor of tickets for this machine's own name."""
    domain.add_service("HTTP/localhost")
    return accepting(domain.new_keytab("localhost.keytab", "HTTP/localhost"), "")


async def predict(domain: Domain, user: str, url: str, *arguments: str) -> tuple[int, str, str]:
    """The exit code of `torchgate predict --negotiate`, and what it says on stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "torchgate", "predict", "double", "x=[[1.5,-2]]", "--negotiate", "--url", url, *arguments,
        env=domain.environment(user), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, complained = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode or 0, said.decode(), complained.decode()


@pytest.mark.identity_case("Negotiate, as a client", "the user's ticket, by `predict --negotiate`", "its principal")
async def test_predict_proves_its_user_by_a_ticket(domain: Domain, here: Any) -> None:
    """One ticket for each of its requests; whom the policy refuses is told so, and who has no ticket what to do."""
    async with gate(domain, here) as rig:
        url = f"http://localhost:{rig.port}"
        assert await predict(domain, "alice", url) == (0, '{"y": [[3.0, -4.0]]}\n', "")
        assert [(event.action, event.status) for event in rig.seen] == [("read", 200), ("infer", 200)]
        assert {event.principal and event.principal.key for event in rig.seen} == {domain.sid_of("alice")}
        code, said, complained = await predict(domain, "mallory", url)
        assert (code, said, "answered 403" in complained) == (1, "", True)
        code, said, complained = await predict(domain, "nobody", url)
        assert (code, said, "kinit" in complained) == (1, "", True)
        assert len(rig.seen) == 3, "without a ticket nothing is sent"


@pytest.mark.identity_case(
    "Negotiate, as a client", "a server that can't prove itself, and one that the domain does not know", "no answer"
)
async def test_predict_takes_no_answer_from_a_server_that_is_another_one(domain: Domain, here: Any) -> None:
    """A ticket is for one service; what else stands at that address has no key to answer with."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        proof = base64.b64encode(b"\xa1\x07\x30\x05\xa0\x03\x0a\x01\x00").decode()  # SPNEGO: accepted, and no more
        writer.write(
            f"HTTP/1.1 200 OK\r\nWWW-Authenticate: Negotiate {proof}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as impostor:
        port = impostor.sockets[0].getsockname()[1]
        code, said, complained = await predict(domain, "alice", f"http://localhost:{port}")
        assert (code, said) == (1, "")
        assert "proof of itself is not good" in complained
        code, said, complained = await predict(domain, "alice", f"http://127.0.0.1:{port}")
        assert (code, said, "no Kerberos ticket for HTTP/127.0.0.1" in complained) == (1, "", True)
    code, said, complained = await predict(domain, "alice", f"http://{HOST}:1")
    assert (code, said, "https" in complained) == (2, "", True)
