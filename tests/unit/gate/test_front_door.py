"""The front door: its proof, which Hosts, which headers, whose pages, and one credential in one form."""

from __future__ import annotations

import pytest
from tests.rigs.door_requests import ALICE_SID, HOST, OpenHandles, door_request, entered

from torchgate.contract.errors import InvalidRequest, RejectedCredential, TorchgateError
from torchgate.contract.windows_tokens import TokenFacts
from torchgate.gate.carriers import IisCarrier
from torchgate.gate.certificate_paths import CertificatePaths
from torchgate.gate.credentials import presented_credential
from torchgate.gate.declarations import FRONT_DOORS, FrontDoorName
from torchgate.gate.errors import ForeignPage, MalformedCredential, UnprovenFrontDoor
from torchgate.gate.front_door import DoorParts, FrontDoor
from torchgate.gate.http_message import RequestHeaders
from torchgate.gate.marked_paths import MarkedPaths
from torchgate.gate.proofs import PairingProof


def door(*hosts: str, is_development: bool = False) -> FrontDoor:
    """Our own socket."""
    return FrontDoor(FRONT_DOORS["direct"], hosts, is_development=is_development)


@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:1", b"127.0.0.1", b"[::1]:8080", b"models.corp.example:443"]
)
def test_loopback_and_configured_hosts_are_ours(host: bytes) -> None:
    """With and without a port, in any case."""
    entered(door("models.corp.example"), door_request((b"host", host)))


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
        entered(door(), door_request(*headers))


@pytest.mark.identity_case("front_door", "a trusted header spelt with underscores", "400")
@pytest.mark.parametrize("name", [b"x_api_key", b"x_forwarded_for", b"ms_aspnetcore_token", b"x_iis_windowsauthtoken"])
def test_a_header_that_pretends_to_be_another_is_refused(name: bytes) -> None:
    """The attacker spells a trusted name with underscores: some servers fold the two into one."""
    with pytest.raises(InvalidRequest, match="dashes"):
        entered(door(), door_request(HOST, (name, b"x")))


@pytest.mark.identity_case("development", "any forwarded request", "400")
@pytest.mark.parametrize("name", [b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-anything"])
def test_development_takes_nothing_forwarded(name: bytes) -> None:
    """Whoever put a proxy before a development server has left this machine (DESIGN 4.4)."""
    with pytest.raises(InvalidRequest, match="development"):
        entered(door(is_development=True), door_request(HOST, (name, b"x")))


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
        entered(door(is_development=True), door_request(HOST, header))


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


ANCM = FRONT_DOORS["ancm"]
PAIRING = (b"ms-aspnetcore-token", b"the-token")
HANDLE = (b"ms-aspnetcore-winauthtoken", b"4b8")
STOP = (b"ms-aspnetcore-event", b"shutdown")
ALICE = TokenFacts(ALICE_SID)


def ancm(
    handles: OpenHandles | None = None,
    *,
    base_path: bytes = b"",
    prefix: bytes = b"",
    paths: tuple[str, ...] = ("/v2",),
) -> FrontDoor:
    """ASP.NET Core Module before us, with /v2 for Windows alone."""
    tokens = handles if handles is not None else OpenHandles(tokens={0x4B8: ALICE})
    carrier = IisCarrier(HANDLE[0], tokens, MarkedPaths(paths), closes_elsewhere=True, has_certificates=True)
    parts = DoorParts(
        PairingProof("the-token"),
        carrier,
        base_path=base_path,
        windows_prefix=prefix,
        address_header=b"x-forwarded-for",
        certificate_paths=CertificatePaths(["/v2/models/plant"]),
    )
    return FrontDoor(ANCM, parts=parts)


def test_a_proven_door_names_its_user() -> None:
    request = door_request(HOST, PAIRING, HANDLE)
    assert ancm().presented(request, entered(ancm(), request).carried).windows == ALICE


def test_without_its_proof_no_token_is_touched() -> None:
    """The attacker calls the loopback port itself, with a handle that it guessed."""
    handles = OpenHandles(tokens={0x4B8: ALICE})
    with pytest.raises(UnprovenFrontDoor):
        entered(ancm(handles), door_request(HOST, HANDLE))
    assert handles.asked == []


def test_without_its_proof_no_address_is_believed() -> None:
    request = door_request(HOST, (b"x-forwarded-for", b"203.0.113.7:1"))
    ancm().enter(request)
    assert request.peer == "127.0.0.1"


def test_behind_a_proven_door_the_peer_is_the_last_hop() -> None:
    request = door_request(HOST, PAIRING, (b"x-forwarded-for", b"10.0.0.1, 203.0.113.7:51234"))
    ancm().enter(request)
    assert request.peer == "203.0.113.7"


@pytest.mark.parametrize("name", ["direct", "httpplatform-1.2", "arr"])
def test_doors_without_a_proof_believe_no_address(name: FrontDoorName) -> None:
    """The attacker forges an address, to be counted as somebody else."""
    request = door_request(HOST, (b"x-forwarded-for", b"203.0.113.7"))
    FrontDoor(FRONT_DOORS[name]).enter(request)
    assert request.peer == "127.0.0.1"


def test_the_token_is_closed_whatever_else_is_wrong() -> None:
    """The attacker, known to IIS, sends a foreign Host, or a twin of a header, and hopes to fill our handle table."""
    for wrong in ((b"host", b"evil.example"), (b"x_api_key", b"k")):
        handles = OpenHandles(tokens={0x4B8: ALICE})
        entry = ancm(handles).enter(door_request(PAIRING, HANDLE, wrong))
        assert isinstance(entry.problem, InvalidRequest)
        assert handles.closed == [0x4B8]


@pytest.mark.identity_case("ancm", "Authorization: Negotiate or Basic left behind by IIS", "removed; the token counts")
@pytest.mark.parametrize("left", [b"Negotiate YIIx", b"NTLM TlRM", b"Basic Y29ycFxhbGljZTpw", b"negotiate x"])
def test_what_iis_has_examined_itself_is_no_second_credential(left: bytes) -> None:
    request = door_request(HOST, PAIRING, HANDLE, (b"authorization", left))
    presented = ancm().presented(request, entered(ancm(), request).carried)
    assert presented.kinds() == ("windows",)


@pytest.mark.identity_case("ancm", "Authorization: Negotiate and no token", "401")
def test_where_iis_has_examined_nothing_negotiate_is_no_credential() -> None:
    """The attacker hopes that the scheme alone makes it somebody."""
    request = door_request(HOST, PAIRING, (b"authorization", b"Negotiate YIIx"))
    with pytest.raises(RejectedCredential):
        ancm().presented(request, entered(ancm(), request).carried)


@pytest.mark.identity_case("ancm", "a Windows token and a bearer token or API key", "400")
@pytest.mark.parametrize("second", [(b"authorization", b"Bearer abc"), (b"x-api-key", b"k")])
def test_a_token_of_windows_and_one_of_the_callers_own_are_two(second: tuple[bytes, bytes]) -> None:
    request = door_request(HOST, PAIRING, HANDLE, second)
    with pytest.raises(MalformedCredential):
        ancm().presented(request, entered(ancm(), request).carried)


def test_a_certificate_counts_on_its_paths_alone() -> None:
    certificate = (b"ms-aspnetcore-clientcert", b"MAMCAQE=")
    there = door_request(HOST, PAIRING, certificate, path=b"/v2/models/plant/infer")
    elsewhere = door_request(HOST, PAIRING, certificate, path=b"/v2/models/m/infer")
    door = ancm()
    assert door.presented(there, entered(door, there).carried).kinds() == ("certificate",)
    assert door.presented(elsewhere, entered(door, elsewhere).carried).kinds() == ()


@pytest.mark.identity_case("ancm", "a Windows token in a request of a foreign page, any method", "403")
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    "header",
    [
        (b"origin", b"https://evil.example"),
        (b"origin", b"null"),
        (b"origin", b"http://127.0.0.1:9999"),
        (b"origin", b"http://127.0.0.1:8080.evil.example"),
        (b"sec-fetch-site", b"cross-site"),
        (b"sec-fetch-site", b"same-site"),
        (b"sec-fetch-site", b"x"),
        (b"referer", b"http://evil.example/127.0.0.1:8080"),
        (b"referer", b"http://127.0.0.1:8080@evil.example/"),
        (b"referer", b"about:blank"),
    ],
)
def test_a_foreign_page_can_not_use_the_browsers_windows_user(method: str, header: tuple[bytes, bytes]) -> None:
    """The attacker's page asks a colleague's browser, which IIS authenticates without a word."""
    request = door_request(HOST, PAIRING, HANDLE, header, method=method)
    with pytest.raises(ForeignPage):
        ancm().presented(request, entered(ancm(), request).carried)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"sec-fetch-site", b"same-origin"), (b"origin", b"https://127.0.0.1:8080")),
        ((b"sec-fetch-site", b"none"),),
        ((b"referer", b"http://127.0.0.1:8080/console?x=1"),),
    ],
)
def test_our_own_pages_and_programs_can(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    request = door_request(HOST, PAIRING, HANDLE, *headers)
    assert ancm().presented(request, entered(ancm(), request).carried).windows == ALICE


def test_a_bearer_token_is_the_pages_own_choice() -> None:
    """A page that has a token has it from its user; a browser adds none by itself."""
    request = door_request(HOST, (b"origin", b"https://app.example"), (b"authorization", b"Bearer abc"))
    assert door().presented(request).bearer == "abc"


@pytest.mark.parametrize("path", [b"/iisintegration", b"/IISIntegration"])
@pytest.mark.parametrize("event", [b"shutdown", b"Shutdown"])
def test_iis_asks_for_a_stop(path: bytes, event: bytes) -> None:
    """Its Host is the loopback port, and nothing but the pairing proof is asked."""
    request = door_request((b"host", b"evil.example"), PAIRING, (STOP[0], event), path=path)
    assert ancm().enter(request).is_stop


def test_iis_asks_below_the_path_where_it_mounted_us() -> None:
    request = door_request(PAIRING, STOP, path=b"/Models/iisintegration")
    assert ancm(base_path=b"/models").enter(request).is_stop


@pytest.mark.identity_case("ancm", "a stop without the pairing token", "400, empty body; nothing stops")
@pytest.mark.parametrize("pairing", [(), ((b"ms-aspnetcore-token", b"THE-TOKEN"),), (PAIRING, PAIRING)])
def test_nobody_else_stops_the_server(pairing: tuple[tuple[bytes, bytes], ...]) -> None:
    """The attacker is another program on this machine."""
    entry = ancm().enter(door_request(*pairing, STOP, path=b"/iisintegration"))
    assert not entry.is_stop
    assert isinstance(entry.problem, UnprovenFrontDoor)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", b"/iisintegration", (STOP,)),
        ("POST", b"/iisintegration", ()),
        ("POST", b"/iisintegration", ((STOP[0], b"start"),)),
        ("POST", b"/iisintegration", (STOP, STOP)),
        ("POST", b"/x/iisintegration", (STOP,)),
        ("POST", b"/iisintegration/", (STOP,)),
    ],
)
def test_anything_else_there_is_an_ordinary_request(
    method: str, path: bytes, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    assert not ancm().enter(door_request(HOST, PAIRING, *headers, method=method, path=path)).is_stop


def test_doors_without_a_pairing_token_have_no_stop() -> None:
    """The attacker sends IIS's request to a server that is not behind IIS."""
    assert not door().enter(door_request(HOST, STOP, path=b"/iisintegration")).is_stop


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"/Models/v2", b"/v2"),
        (b"/models", b"/"),
        (b"/modelsx/v2", b"/modelsx/v2"),
        (b"/v2", b"/v2"),
    ],
)
def test_the_path_starts_where_iis_mounted_us(sent: bytes, seen: bytes) -> None:
    request = door_request(HOST, PAIRING, path=sent)
    ancm(base_path=b"/models").enter(request)
    assert request.raw_path == seen


def test_a_marked_path_is_below_the_path_where_iis_mounted_us() -> None:
    request = door_request(HOST, PAIRING, HANDLE, path=b"/Models/V2/x")
    assert entered(ancm(base_path=b"/models"), request).carried.windows == ALICE


@pytest.mark.parametrize(
    ("sent", "seen", "is_believed"),
    [
        (b"/win/v2/models", b"/v2/models", True),
        (b"/WIN/v2/models", b"/v2/models", True),
        (b"/win", b"/", True),
        (b"/v2/models", b"/v2/models", False),
        (b"/winx/v2/models", b"/winx/v2/models", False),
        (b"//win/v2/models", b"//win/v2/models", False),
    ],
)
@pytest.mark.identity_case(
    "windows", "a token's handle, at the prefix for Windows or beside it", "believed below it alone"
)
def test_windows_callers_have_the_whole_server_below_a_prefix(sent: bytes, seen: bytes, is_believed: bool) -> None:
    """IIS asks for Windows there and nowhere else; whoever names a handle elsewhere is not believed."""
    handles = OpenHandles(tokens={0x4B8: ALICE})
    request = door_request(HOST, PAIRING, HANDLE, path=sent)
    entry = entered(ancm(handles, prefix=b"/win", paths=("/win",)), request)
    assert (request.raw_path, entry.carried.windows == ALICE) == (seen, is_believed)
    assert handles.closed == [0x4B8]


def test_a_prefix_is_below_the_path_where_iis_mounted_us() -> None:
    request = door_request(HOST, PAIRING, HANDLE, path=b"/models/win/v2")
    entry = entered(ancm(base_path=b"/models", prefix=b"/win", paths=("/win",)), request)
    assert (request.raw_path, entry.carried.windows) == (b"/v2", ALICE)


def test_names_that_a_proxy_was_given_have_no_twins() -> None:
    """The attacker spells the proxy's own header otherwise; mod_auth_openidc's have underscores, so both ways."""
    parts = DoorParts(trusted=frozenset({b"x-user", b"oidc_claim_sub"}))
    proxy = FrontDoor(FRONT_DOORS["direct"], parts=parts)
    for twin in (b"x_user", b"oidc-claim-sub", b"oidc_claim-sub", b"OIDC-CLAIM_SUB"):
        with pytest.raises(InvalidRequest, match="dashes"):
            entered(proxy, door_request(HOST, (twin, b"evil")))
    entered(proxy, door_request(HOST, (b"x-user", b"alice"), (b"oidc_claim_sub", b"1"), (b"x-other_name", b"x")))


def test_negotiate_is_read_at_our_own_socket_alone() -> None:
    headers = RequestHeaders([(b"authorization", b"Negotiate YWJj")])
    assert presented_credential(headers, takes_negotiate=True).negotiate == b"abc"
    for bad in (b"Negotiate", b"Negotiate ", b"Negotiate a!", b"Negotiate  YWJj"):
        with pytest.raises(MalformedCredential):
            presented_credential(RequestHeaders([(b"authorization", bad)]), takes_negotiate=True)


def test_what_each_door_carries_is_one_table() -> None:
    """DESIGN 4.1: a door without proof carries nothing but what callers put there themselves."""
    for declaration in FRONT_DOORS.values():
        if declaration.proof == "none":
            assert declaration.carries == ("bearer", "api_key")
        assert bool(declaration.token_variable) == (declaration.proof == "pairing token")
