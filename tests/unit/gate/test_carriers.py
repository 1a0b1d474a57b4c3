"""What a proven front door carries: Windows tokens by handle, users and groups by name, certificates."""

from __future__ import annotations

import base64

import pytest
from tests.rigs.door_requests import ALICE_SID, OpenHandles, door_request

from torchgate.contract.errors import InvalidRequest, RejectedCredential, TorchgateError
from torchgate.contract.windows_tokens import TokenFacts
from torchgate.gate.carriers import NOTHING, Carried, CarriesNothing, IisCarrier, ProxyCarrier, token_handle
from torchgate.gate.errors import MalformedCredential
from torchgate.gate.marked_paths import MarkedPaths

ANCM = b"ms-aspnetcore-winauthtoken"
HTTP_PLATFORM = b"x-iis-windowsauthtoken"
ALICE = TokenFacts(ALICE_SID)
DER = b"\x30\x03\x02\x01\x01"


@pytest.fixture
def handles() -> OpenHandles:
    """0x4b8 is alice's token; 0x10 is a file or a socket of ours."""
    return OpenHandles(tokens={0x4B8: ALICE}, others={0x10})


def ancm(handles: OpenHandles | None) -> IisCarrier:
    """ASP.NET Core Module, /v2 marked."""
    return IisCarrier(ANCM, handles, MarkedPaths(["/v2"]), closes_elsewhere=True, has_certificates=True)


def httpplatform(handles: OpenHandles | None) -> IisCarrier:
    """HttpPlatformHandler v2, /v2 marked."""
    return IisCarrier(HTTP_PLATFORM, handles, MarkedPaths(["/v2"]), closes_elsewhere=False, has_certificates=False)


@pytest.mark.parametrize("path", [b"/v2/models", b"/V2/x"])
def test_on_a_marked_path_the_token_is_read_and_closed_once(handles: OpenHandles, path: bytes) -> None:
    assert ancm(handles).take(door_request((ANCM, b"4b8"), path=path)) == Carried(windows=ALICE)
    assert handles.closed == [0x4B8]


def test_the_same_behind_http_platform_handler(handles: OpenHandles) -> None:
    assert httpplatform(handles).take(door_request((HTTP_PLATFORM, b"4B8"))) == Carried(windows=ALICE)
    assert handles.closed == [0x4B8]


def test_each_door_reads_its_own_header_alone(handles: OpenHandles) -> None:
    """The attacker sends the other module's header, which this one would not take off."""
    assert ancm(handles).take(door_request((HTTP_PLATFORM, b"4b8"))) == NOTHING
    assert httpplatform(handles).take(door_request((ANCM, b"4b8"))) == NOTHING
    assert handles.asked == []


@pytest.mark.identity_case("windows", "no, half or twice a handle on a marked path", "401, never anonymous")
@pytest.mark.parametrize(
    "value",
    [
        b"", b"0", b"0000", b"-1", b"+4b8", b"0x4b8", b" 4b8", b"4b8 ", b"4b8,4b8", b"g", b"4" * 17, b"4b8\x00",
        b"ffffffffffffffff", b"fffffffffffffffe", b"fffffffffffffffa", b"ffffffff", b"fffffffa", b"\xd9\xa4",
        b"CORP\\alice",
    ],
)  # fmt: skip
def test_what_is_no_handle_is_refused_and_not_opened(handles: OpenHandles, value: bytes) -> None:
    """The attacker names this process itself (-1), this thread (-2), or nothing that is a number."""
    with pytest.raises(RejectedCredential):
        token_handle(value)
    with pytest.raises(RejectedCredential):
        httpplatform(handles).take(door_request((HTTP_PLATFORM, value)))
    assert handles.asked == []


@pytest.mark.identity_case("windows", "a handle that is no token, on a marked path", "401, and it is not closed")
@pytest.mark.parametrize("value", [b"10", b"dead"])
def test_a_handle_that_is_no_token_is_refused_and_not_closed(handles: OpenHandles, value: bytes) -> None:
    """The attacker names a socket or file of ours, which closing would give away."""
    with pytest.raises(RejectedCredential):
        ancm(handles).take(door_request((ANCM, value)))
    assert handles.closed == []


def test_two_tokens_are_refused(handles: OpenHandles) -> None:
    """The attacker adds its own beside the module's."""
    with pytest.raises(RejectedCredential):
        httpplatform(handles).take(door_request((HTTP_PLATFORM, b"4b8"), (HTTP_PLATFORM, b"4b8")))
    assert handles.closed == []


@pytest.mark.identity_case("ancm", "a token on a path that is not marked", "closed, not believed")
@pytest.mark.parametrize("path", [b"/", b"/metrics", b"/v20", b"//v2"])
def test_elsewhere_ancm_closes_without_believing(handles: OpenHandles, path: bytes) -> None:
    assert ancm(handles).take(door_request((ANCM, b"4b8"), path=path)) == NOTHING
    assert handles.closed == [0x4B8]


@pytest.mark.identity_case(
    "httpplatform", "a token on a path that is not marked", "left unopened, handled as anonymous"
)
@pytest.mark.parametrize("path", [b"/", b"/metrics", b"/v20", b"//v2"])
def test_elsewhere_http_platform_handler_leaves_it_unopened(handles: OpenHandles, path: bytes) -> None:
    """There the header may be the client's own, so that closing it would be what the attacker wants."""
    assert httpplatform(handles).take(door_request((HTTP_PLATFORM, b"4b8"), path=path)) == NOTHING
    assert handles.asked == []


@pytest.mark.parametrize("value", [b"10", b"dead", b"-1", b"zz"])
def test_elsewhere_garbage_is_nobodys_and_untouched(handles: OpenHandles, value: bytes) -> None:
    assert ancm(handles).take(door_request((ANCM, value), path=b"/")) == NOTHING
    assert handles.closed == []


@pytest.mark.parametrize("path", [b"/v2/%252e", b"/%76%32", b"/v2/%"])
def test_a_path_that_is_refused_leaks_no_handle_of_ancm(handles: OpenHandles, path: bytes) -> None:
    """The attacker, authenticated by IIS, sends paths that we refuse, each with a fresh handle."""
    with pytest.raises(InvalidRequest):
        ancm(handles).take(door_request((ANCM, b"4b8"), path=path))
    assert handles.closed == [0x4B8]


@pytest.mark.parametrize("path", [b"/v2/%252e", b"/%76%32", b"/v2/%"])
def test_a_path_that_is_refused_is_not_marked_for_http_platform_handler(handles: OpenHandles, path: bytes) -> None:
    with pytest.raises(InvalidRequest):
        httpplatform(handles).take(door_request((HTTP_PLATFORM, b"4b8"), path=path))
    assert handles.asked == []


def test_a_token_where_windows_is_not_enabled_is_refused_and_not_ignored() -> None:
    with pytest.raises(RejectedCredential):
        ancm(None).take(door_request((ANCM, b"4b8")))
    assert ancm(None).take(door_request((ANCM, b"4b8"), path=b"/")) == NOTHING


def test_ancm_hands_on_the_certificate_that_iis_was_shown(handles: OpenHandles) -> None:
    request = door_request((b"ms-aspnetcore-clientcert", base64.b64encode(DER)), path=b"/x")
    assert ancm(handles).take(request) == Carried(certificate=DER)


def test_http_platform_handler_hands_on_none(handles: OpenHandles) -> None:
    """It takes `MS-ASPNETCORE-*` of clients off, but its own name for this is not known."""
    request = door_request((b"ms-aspnetcore-clientcert", base64.b64encode(DER)), path=b"/x")
    assert httpplatform(handles).take(request) == NOTHING


def test_a_certificate_that_is_none_is_refused_after_the_token_is_closed(handles: OpenHandles) -> None:
    with pytest.raises(MalformedCredential):
        ancm(handles).take(door_request((ANCM, b"4b8"), (b"ms-aspnetcore-clientcert", b"garbage!")))
    assert handles.closed == [0x4B8]


def proxy() -> ProxyCarrier:
    """User, groups and certificate."""
    return ProxyCarrier(
        user_header=b"x-remote-user",
        groups_header=b"x-remote-groups",
        certificate_header=b"x-client-cert",
        verified_header=b"x-client-verify",
        form="der",
    )


def test_a_proxy_names_user_and_groups() -> None:
    carried = proxy().take(door_request((b"x-remote-user", "bjørn".encode()), (b"x-remote-groups", b"a, b c,,d")))
    assert carried.asserted is not None
    assert (carried.asserted.user, carried.asserted.groups) == ("bjørn", ("a", "b c", "d"))


def test_without_a_header_for_groups_they_are_unknown() -> None:
    carried = ProxyCarrier(user_header=b"x-remote-user").take(door_request((b"x-remote-user", b"alice")))
    assert carried.asserted is not None
    assert carried.asserted.groups is None


@pytest.mark.parametrize("value", [b"", b"(null)"])
def test_what_proxies_write_for_nobody_is_nobody(value: bytes) -> None:
    """Apache writes `(null)` where a variable is not set: no user may be called so."""
    assert proxy().take(door_request((b"x-remote-user", value), (b"x-remote-groups", b"admins"))) == NOTHING


@pytest.mark.identity_case("proxy", "two users, a list, control characters, no UTF-8 in the user's header", "400")
@pytest.mark.parametrize(
    "headers",
    [
        ((b"x-remote-user", b"alice"), (b"x-remote-user", b"alice")),
        ((b"x-remote-user", b"evil, alice"),),
        ((b"x-remote-user", b"alice\x00"),),
        ((b"x-remote-user", b"alice\tx"),),
        ((b"x-remote-user", "alice\u202e".encode()),),
        ((b"x-remote-user", b"\xff"),),
        ((b"x-remote-user", b"a" * 300),),
        ((b"x-remote-user", b"alice"), (b"x-remote-groups", b"a"), (b"x-remote-groups", b"admins")),
        ((b"x-remote-user", b"alice"), (b"x-remote-groups", b"a\x1b[2J")),
        ((b"x-remote-user", b"alice"), (b"x-remote-groups", b"g," * 3000)),
    ],
)
def test_what_no_proxy_would_write_is_refused(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """The attacker gets a header of its own past the proxy, beside the proxy's."""
    with pytest.raises(MalformedCredential):
        proxy().take(door_request(*headers))


def test_a_proxys_certificate_counts_where_it_says_that_it_verified_it() -> None:
    headers = ((b"x-client-cert", base64.b64encode(DER)), (b"x-client-verify", b"SUCCESS"))
    assert proxy().take(door_request(*headers)) == Carried(certificate=DER)


@pytest.mark.identity_case("proxy", "a certificate that the proxy did not verify", "401, or not there")
@pytest.mark.parametrize("verdict", [b"FAILED:unable to verify", b"success", b"SUCCESS,FAILED", b"1"])
def test_a_certificate_that_it_could_not_verify_is_refused(verdict: bytes) -> None:
    with pytest.raises(TorchgateError):
        proxy().take(door_request((b"x-client-cert", base64.b64encode(DER)), (b"x-client-verify", verdict)))


@pytest.mark.parametrize("headers", [(), ((b"x-client-verify", b"NONE"),), ((b"x-client-verify", b"(null)"),)])
def test_a_certificate_without_its_word_is_not_there(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    assert proxy().take(door_request((b"x-client-cert", base64.b64encode(DER)), *headers)) == NOTHING


def test_other_doors_carry_nothing() -> None:
    assert CarriesNothing().take(door_request((b"x-remote-user", b"alice"), (ANCM, b"4b8"))) == NOTHING
