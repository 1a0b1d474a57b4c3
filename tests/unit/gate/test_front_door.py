"""The direct front door: which Hosts, which headers, and one credential in one form."""

from __future__ import annotations

import pytest

from torchgate.contract.errors import InvalidRequest, TorchgateError
from torchgate.gate.errors import ForeignPage, MalformedCredential
from torchgate.gate.front_door import FRONT_DOORS, FrontDoor, presented_credential
from torchgate.gate.http_message import HttpRequest, RequestHeaders

HOST = (b"host", b"127.0.0.1:8080")


class NoBody:
    """A request without a body."""

    is_complete = True

    async def read(self) -> bytes:
        """Nothing."""
        return b""


class NeverGone:
    """A client that stays."""

    gone = False

    def watch(self, on_gone: object) -> None:
        """Nothing to tell."""

    def unwatch(self) -> None:
        """Nothing to forget."""


def request(*headers: tuple[bytes, bytes]) -> HttpRequest:
    """A request with these headers."""
    return HttpRequest(
        method="POST",
        raw_path=b"/v2",
        headers=RequestHeaders(headers),
        peer="127.0.0.1",
        body=NoBody(),
        disconnect=NeverGone(),
    )


def door(*hosts: str, is_development: bool = False) -> FrontDoor:
    """Our own socket."""
    return FrontDoor(FRONT_DOORS["direct"], hosts, is_development=is_development)


@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:1", b"127.0.0.1", b"[::1]:8080", b"models.corp.example:443"]
)
def test_loopback_and_configured_hosts_are_ours(host: bytes) -> None:
    """With and without a port, in any case."""
    door("models.corp.example").examine(request((b"host", host)))


@pytest.mark.identity_case("front_door", "another Host, two Hosts, or none", "400")
@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"host", b"evil.example"),),
        ((b"host", b"127.0.0.1.evil.example"),),
        ((b"host", b"127.0.0.1@evil.example"),),
        ((b"host", b"127.0.0.1:8080:1"),),
        ((b"host", b"localhost"), (b"host", b"evil.example")),
        ((b"host", b""),),
        ((b"host", b"\xffocalhost"),),
    ],
)
def test_any_other_host_is_refused(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """The attacker rebinds a name of its own to this machine, or hides it behind a known one."""
    with pytest.raises(InvalidRequest):
        door().examine(request(*headers))


@pytest.mark.identity_case("front_door", "a trusted header spelt with underscores", "400")
@pytest.mark.parametrize("name", [b"x_api_key", b"x_forwarded_for", b"ms_aspnetcore_token", b"x_iis_windowsauthtoken"])
def test_a_header_that_pretends_to_be_another_is_refused(name: bytes) -> None:
    """The attacker spells a trusted name with underscores: some servers fold the two into one."""
    with pytest.raises(InvalidRequest, match="underscore"):
        door().examine(request(HOST, (name, b"x")))


@pytest.mark.identity_case("development", "any forwarded request", "400")
@pytest.mark.parametrize("name", [b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-anything"])
def test_development_takes_nothing_forwarded(name: bytes) -> None:
    """Whoever put a proxy before a development server has left this machine (DESIGN 4.4)."""
    with pytest.raises(InvalidRequest, match="development"):
        door(is_development=True).examine(request(HOST, (name, b"x")))


@pytest.mark.identity_case("development", "a request made by a foreign page", "403")
@pytest.mark.parametrize(
    "header",
    [
        (b"origin", b"https://evil.example"),
        (b"origin", b"null"),
        (b"origin", b"http://127.0.0.1:9999"),
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-site", b"same-site"),
    ],
)
def test_development_refuses_foreign_pages(header: tuple[bytes, bytes]) -> None:
    """The attacker's page asks the developer's browser to call a server on this machine."""
    with pytest.raises(ForeignPage):
        door(is_development=True).examine(request(HOST, header))


@pytest.mark.parametrize(
    ("authorization", "token"),
    [(b"Bearer abc.def", "abc.def"), (b"bearer abc", "abc"), (b"BEARER a-_~+/=", "a-_~+/=")],
)
def test_bearer_tokens_are_read_in_any_case_of_the_scheme(authorization: bytes, token: str) -> None:
    """RFC 9110: schemes are case-insensitive."""
    assert presented_credential(RequestHeaders([(b"authorization", authorization)])).bearer == token


@pytest.mark.identity_case(
    "front_door",
    "two Authorization headers, `Bearer a, Bearer b`, token and key, tabs, trailing junk",
    "400",
)
@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
        [(b"authorization", b"Bearer a, Bearer b")],
        [(b"authorization", b"Bearer a"), (b"x-api-key", b"k")],
        [(b"x-api-key", b"k"), (b"x-api-key", b"k")],
        [(b"x-api-key", b"k, l")],
        [(b"authorization", b"Bearer  a")],
        [(b"authorization", b"Bearer\ta")],
        [(b"authorization", b"Bearer a b")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer a\x00b")],
        [(b"authorization", b"Bearer \xc3\xbc")],
    ],
)
def test_anything_but_one_well_formed_credential_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """The attacker hopes that two readers take two different credentials out of one request."""
    with pytest.raises(MalformedCredential):
        presented_credential(RequestHeaders(headers))


@pytest.mark.identity_case("front_door", "Basic, Negotiate, DPoP or Digest where they don't exist", "401")
@pytest.mark.parametrize("scheme", [b"Basic cm9vdDpyb290", b"Negotiate YII=", b"DPoP abc", b"Digest x=1"])
def test_other_schemes_are_refused_and_not_ignored(scheme: bytes) -> None:
    """A credential that we can't examine is not the same as none."""
    with pytest.raises(TorchgateError):
        presented_credential(RequestHeaders([(b"authorization", scheme)]))
