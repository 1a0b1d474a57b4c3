"""Negotiate from the client's side: rounds, proofs of the server, and to whom nothing is sent."""

from __future__ import annotations

import base64
import contextlib
import email.message
import http.client
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from torchgate.contract.kerberos import NegotiationFailed
from torchgate.gate.client import GateClient
from torchgate.gate.negotiating import Received, negotiated


class Scripted:
    """Implements Negotiation: says what it was given, in this order, and keeps what it hears."""

    def __init__(self, *says: bytes, complete_after: int = 2) -> None:
        self._says = list(says)
        self._complete_after = complete_after
        self.heard: list[bytes | None] = []

    @property
    def is_complete(self) -> bool:
        """As the test says."""
        return len(self.heard) >= self._complete_after

    def step(self, token: bytes | None) -> bytes:
        """The next."""
        self.heard.append(token)
        if token == b"wrong":
            raise NegotiationFailed("the server's proof of itself is not good")
        return self._says.pop(0) if self._says else b""


def received(status: int, *challenges: str) -> Received:
    headers = http.client.HTTPMessage()
    for challenge in challenges:
        headers["WWW-Authenticate"] = challenge
    return Received(status, headers, b"")


def asked(negotiation: Scripted, *answers: Received, is_tls: bool = True) -> tuple[Received, list[str]]:
    """What comes of it, and what was sent."""
    sent: list[str] = []

    def ask(headers: Mapping[str, str]) -> Received:
        scheme, _, token = headers["Authorization"].partition(" ")
        assert scheme == "Negotiate"
        sent.append(base64.b64decode(token).decode())
        return answers[len(sent) - 1]

    return negotiated(ask, negotiation, is_tls=is_tls), sent


def challenge(token: bytes) -> str:
    return f"Negotiate {base64.b64encode(token).decode()}"


def test_kerberos_takes_one_round_and_the_servers_proof_is_examined() -> None:
    """Which comes with the answer."""
    negotiation = Scripted(b"ticket")
    answer, sent = asked(negotiation, received(200, "Bearer", challenge(b"proof")))
    assert (answer.status, sent, negotiation.heard) == (200, ["ticket"], [None, b"proof"])


def test_rounds_go_on_while_both_ends_want_them() -> None:
    """NTLM's three messages; an answer without a token is the end."""
    negotiation = Scripted(b"one", b"three")
    answer, sent = asked(negotiation, received(401, challenge(b"two")), received(200))
    assert (answer.status, sent, negotiation.heard) == (200, ["one", "three"], [None, b"two"])


@pytest.mark.parametrize("challenges", [(), ("Negotiate",), ("Bearer",), ('Bearer realm="Negotiate QQ=="',)])
def test_a_refusal_is_the_answer(challenges: tuple[str, ...]) -> None:
    """The ticket is not sent a second time."""
    answer, sent = asked(Scripted(b"ticket", b"more"), received(401, *challenges))
    assert (answer.status, sent) == (401, ["ticket"])


def test_a_server_that_is_not_the_one_it_should_be_has_no_answer() -> None:
    """Whatever its status."""
    with pytest.raises(NegotiationFailed, match="proof"):
        asked(Scripted(b"ticket"), received(200, challenge(b"wrong")))
    with pytest.raises(NegotiationFailed, match="read"):
        asked(Scripted(b"ticket"), received(200, "Negotiate QQQ"))


def test_an_answer_without_the_servers_proof_is_none() -> None:
    """A refusal needs none: nobody builds on it."""
    with pytest.raises(NegotiationFailed, match="without a proof"):
        asked(Scripted(b"ticket"), received(200, "Bearer"))
    assert asked(Scripted(b"ticket"), received(503))[0].status == 503


def test_a_server_that_asks_on_and_on_is_left() -> None:
    """After four rounds."""
    with pytest.raises(NegotiationFailed, match="4 rounds"):
        asked(Scripted(*[b"x"] * 9, complete_after=99), *[received(401, challenge(b"again"))] * 9)


def test_what_is_complete_says_nothing_more() -> None:
    """Else a server could have it begin again."""
    answer, sent = asked(Scripted(b"one", b"two", complete_after=1), received(401, challenge(b"again")))
    assert (answer.status, sent) == (401, ["one"])


@contextlib.contextmanager
def server(status: int, **headers: str) -> Iterator[tuple[int, list[email.message.Message]]]:
    """Answers everything so, and keeps the heads of what it was asked."""
    heads: list[email.message.Message] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heads.append(self.headers)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """To nobody."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield running.server_address[1], heads
        finally:
            running.shutdown()
            thread.join()


@pytest.mark.identity_case("Negotiate, as a client", "a server that redirects elsewhere", "no ticket goes there")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_ticket_goes_after_no_redirect(status: int) -> None:
    """Neither to another server nor to another path."""
    with server(200) as (elsewhere, heads), server(status, Location=f"http://localhost:{elsewhere}/") as (port, first):
        client = GateClient(f"http://localhost:{port}", negotiate=lambda host: Scripted(b"ticket"))
        assert client.request("GET", "/whoami").status == status
        assert [head["Authorization"] for head in first] == ["Negotiate dGlja2V0"]
        assert heads == []


@pytest.mark.identity_case(
    "Negotiate, as a client", "a server elsewhere without TLS", "refused before anything is sent"
)
@pytest.mark.parametrize("url", ["http://models.corp.example", "http://10.0.0.7:8080", "http://localhost.example"])
def test_a_ticket_goes_by_tls_or_stays_on_this_machine(url: str) -> None:
    """A name that only looks like this machine's is none."""
    with pytest.raises(ValueError, match="https"):
        GateClient(url, negotiate=lambda host: Scripted(b"ticket"))


@pytest.mark.parametrize(
    "url", ["https://models.corp.example", "http://localhost:1", "http://127.0.0.1", "http://[::1]"]
)
def test_elsewhere_it_may(url: str) -> None:
    """And each request begins anew, with the host's own name."""
    GateClient(url, negotiate=lambda host: Scripted(b"ticket"))


def test_each_request_has_a_ticket_of_its_own_for_the_host_of_the_url() -> None:
    """A token counts once."""
    hosts: list[str] = []

    def negotiate(host: str) -> Scripted:
        hosts.append(host)
        return Scripted(b"ticket %d" % len(hosts), complete_after=1)

    with server(200) as (port, heads):
        client = GateClient(f"http://LocalHost:{port}/below", negotiate=negotiate)
        for _ in range(2):
            client.request("GET", "/whoami")
    assert hosts == ["localhost", "localhost"]
    sent = [base64.b64decode(head["Authorization"].split()[1]) for head in heads]
    assert sent == [b"ticket 1", b"ticket 2"]


@pytest.mark.identity_case(
    "Negotiate, as a client", "NTLM, to this machine without TLS", "refused before anything is sent"
)
@pytest.mark.parametrize("token", [b"NTLMSSP\0\x01", b"wrapped NTLMSSP\0\x01"])
def test_what_proves_no_server_goes_by_tls_alone(token: bytes) -> None:
    """Whoever takes the port of a server that is down could pass it on to another one, in the user's name."""
    with server(200) as (port, heads):
        client = GateClient(f"http://localhost:{port}", negotiate=lambda host: Scripted(token, complete_after=1))
        with pytest.raises(NegotiationFailed, match="NTLM"):
            client.request("GET", "/whoami")
    assert heads == []


def test_behind_a_ticket_no_ntlm_follows() -> None:
    """A server could else ask for the weaker of the two."""
    negotiation = Scripted(b"ticket", b"NTLMSSP\0\x03", complete_after=9)
    with pytest.raises(NegotiationFailed, match="NTLM"):
        asked(negotiation, received(401, challenge(b"two")), received(200), is_tls=False)


def test_two_credentials_are_one_too_many() -> None:
    """As for keys and tokens."""
    with pytest.raises(ValueError, match="one credential"):
        GateClient("https://x", key="k", negotiate=lambda host: Scripted())
