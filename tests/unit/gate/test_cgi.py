"""Server variables of IIS's FastCGI module: who is named there, and what a client can't put there."""

from __future__ import annotations

import pytest
from tests.rigs.door_requests import HOST, door_request, entered

from torchgate.contract.errors import InvalidRequest, RejectedCredential
from torchgate.gate.cgi import CgiCarrier, InheritedPipe, cgi_headers, cgi_user
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.errors import UnprovenFrontDoor
from torchgate.gate.front_door import DoorParts, FrontDoor

ALICE = {
    "REMOTE_USER": "CORP\\alice",
    "AUTH_TYPE": "Negotiate",
    "AUTH_USER": "CORP\\alice",
    "LOGON_USER": "corp\\alice",
}


@pytest.mark.parametrize("kind", ["Negotiate", "NTLM", "Basic", "Kerberos"])
def test_the_account_that_iis_authenticated_is_the_user_and_its_groups_are_unknown(kind: str) -> None:
    user = cgi_user({**ALICE, "AUTH_TYPE": kind})
    assert user is not None
    assert (user.user, user.groups, user.is_windows_account) == ("CORP\\alice", None, True)


@pytest.mark.parametrize("variables", [{}, {"REMOTE_USER": "", "AUTH_TYPE": ""}, {"HTTP_REMOTE_USER": "CORP\\admin"}])
def test_anonymous_requests_name_nobody(variables: dict[str, str]) -> None:
    """The attacker sends `Remote-User`, which arrives as HTTP_REMOTE_USER and is nobody's."""
    assert cgi_user(variables) is None


@pytest.mark.identity_case("fastcgi", "REMOTE_USER with lost letters, no domain, or variables that contradict", "401")
@pytest.mark.parametrize(
    "changed",
    [
        {"AUTH_TYPE": ""},
        {"AUTH_TYPE": "SSL/PCT"},
        {"AUTH_USER": "CORP\\bob"},
        {"LOGON_USER": "CORP\\bob"},
        {"REMOTE_USER": "", "AUTH_USER": ""},
        *(
            {"REMOTE_USER": name, "AUTH_USER": name, "LOGON_USER": name}
            for name in ("CORP\\?????", "alice", "CORP\\", "\\alice", "A\\B\\c", "alice@corp", "CORP/alice", "CORP\\*")
        ),
    ],
)
def test_a_name_that_could_be_two_accounts_is_refused(changed: dict[str, str]) -> None:
    """Letters outside the code page become `?`, and two people one."""
    with pytest.raises(RejectedCredential):
        cgi_user({**ALICE, **changed})


def test_headers_are_read_without_what_libraries_take() -> None:
    """The attacker sends Proxy, which libraries take for a setting of their own."""
    variables = {"HTTP_X_API_KEY": "k", "HTTP_PROXY": "evil", "X": "y"}
    headers = cgi_headers({**variables, "CONTENT_LENGTH": "2", "CONTENT_TYPE": "", "wsgi.input": object()})
    assert sorted(headers.names()) == [b"content-length", b"x-api-key"]


def fastcgi() -> FrontDoor:
    """IIS's FastCGI module."""
    return FrontDoor(FRONT_DOORS["fastcgi"], parts=DoorParts(InheritedPipe(), CgiCarrier()))


@pytest.mark.parametrize("left", [b"Negotiate YII=", b"Basic Y29ycFxhOnA="])
def test_the_user_is_presented_and_what_iis_left_behind_is_not(left: bytes) -> None:
    request = door_request(HOST, (b"authorization", left), variables=ALICE)
    presented = fastcgi().presented(request, entered(fastcgi(), request).carried)
    assert presented.asserted == cgi_user(ALICE)
    assert presented.kinds() == ("asserted",)


@pytest.mark.identity_case("fastcgi", "X-Original-URL, which wfastcgi takes for the path", "400")
@pytest.mark.parametrize("variables", [{}, ALICE])
def test_a_client_that_names_another_path_than_iis_saw_is_refused(variables: dict[str, str]) -> None:
    """The attacker asks for an open path, and names one in the header that IIS lets fewer people to."""
    headers = cgi_headers({"HTTP_X_ORIGINAL_URL": "/v2/models/secret", "HTTP_HOST": "127.0.0.1"})
    door, request = fastcgi(), door_request(variables=variables)
    request.headers = headers
    with pytest.raises(InvalidRequest, match="X-Original-URL"):
        entered(door, request)


@pytest.mark.parametrize(("peer", "is_here"), [("127.0.0.1", True), ("::1", True), ("192.0.2.7", False), ("", False)])
def test_the_warm_up_of_this_machine_is_known_by_its_server_variable(peer: str, is_here: bool) -> None:
    request = door_request(HOST, (b"x-forwarded-for", b"127.0.0.1"), peer=peer, variables={})
    assert fastcgi().client_is_here(request) is is_here


def test_a_request_that_did_not_come_by_the_gateway_is_unproven() -> None:
    with pytest.raises(UnprovenFrontDoor):
        entered(fastcgi(), door_request(HOST))
