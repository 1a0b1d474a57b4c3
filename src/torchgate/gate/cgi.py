"""Requests that come as server variables (CGI, FastCGI), as messages of the gate; free of any server's types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torchgate.access.identity.presented import AssertedUser
from torchgate.contract.errors import InvalidRequest, RejectedCredential
from torchgate.gate.carriers import NOTHING, Carried, asserted_name
from torchgate.gate.http_message import HttpRequest, RequestHeaders

DROPPED = frozenset({"HTTP_PROXY"})
"""Client headers that libraries take for their own."""

_TOLD_TWICE = frozenset({"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"})
"""Headers that some servers give as a variable of their own and as a header, too; where the two differ, both count."""

_WHOLE_URLS = ("UNENCODED_URL", "REQUEST_URI")
"""Server variables with the URL as it was asked for. wfastcgi cuts the decoded path at the first `?`."""

_ORIGINAL_URL = b"x-original-url"

WINDOWS_SCHEMES = frozenset({"negotiate", "ntlm", "kerberos", "basic", "digest"})
"""What AUTH_TYPE may be for REMOTE_USER to be a Windows account that IIS has examined."""

_REJECTED = "The credential was refused."


def cgi_headers(variables: Mapping[str, object]) -> RequestHeaders:
    """The headers in server variables.

    One server variable may come from several spellings of a header; which, nobody can tell any more. So nothing that
    is believed may stand in these headers, and nothing does: the user is in variables that no header can reach.
    """
    return RequestHeaders(_headers(variables))


def _headers(variables: Mapping[str, object]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in variables.items():
        if not isinstance(value, str) or name in DROPPED:
            continue
        if name in _TOLD_TWICE and value == variables.get(name[5:]):
            continue
        if name.startswith("HTTP_"):
            yield _header_name(name[5:]), value.encode("latin-1", "replace")
        elif name in {"CONTENT_TYPE", "CONTENT_LENGTH"} and value:
            yield _header_name(name), value.encode("latin-1", "replace")


def _header_name(name: str) -> bytes:
    return name.replace("_", "-").lower().encode("latin-1", "replace")


def cgi_user(variables: Mapping[str, object]) -> AssertedUser | None:
    """The Windows account that IIS has authenticated, `DOMAIN` backslash `name`; None for anonymous requests.

    Raises:
        RejectedCredential: variables that contradict each other, or a name that lost letters on its way:
            outside the code page each letter becomes `?`, and two accounts become one (identity.md 1.6).
    """
    user, kind = _variable(variables, "REMOTE_USER"), _variable(variables, "AUTH_TYPE")
    if not user:
        if kind:
            raise RejectedCredential(_REJECTED, detail="AUTH_TYPE without REMOTE_USER")
        return None
    if kind.lower() not in WINDOWS_SCHEMES:
        raise RejectedCredential(_REJECTED, detail="REMOTE_USER without an AUTH_TYPE of Windows")
    for other in ("AUTH_USER", "LOGON_USER"):
        named = _variable(variables, other)
        if named and named.casefold() != user.casefold():
            raise RejectedCredential(_REJECTED, detail=f"REMOTE_USER and {other} differ")
    if any(letter in user for letter in "?*\ufffd/@"):
        raise RejectedCredential(_REJECTED, detail="REMOTE_USER holds what no account's name has")
    domain, backslash, name = user.partition("\\")
    if not backslash or not domain or not name or "\\" in name:
        raise RejectedCredential(_REJECTED, detail="REMOTE_USER names no domain")
    return AssertedUser(asserted_name(user), is_windows_account=True)


class CgiCarrier:
    """IIS's FastCGI module: REMOTE_USER, which came by the inherited pipe and by no header; its groups are unknown."""

    def take(self, request: HttpRequest) -> Carried:
        """The user of the request's server variables.

        Raises:
            InvalidRequest: wfastcgi has made its path of a client's header, past the rules of IIS for the path that
                was asked for (iis.md 3.4).
            RejectedCredential: the variables of the user are not as IIS makes them.
        """
        if _ORIGINAL_URL in request.headers:
            raise InvalidRequest("X-Original-URL is not taken here: the path would not be the one that was asked for.")
        variables = request.variables or {}
        if any("%3f" in _variable(variables, name).partition("?")[0].lower() for name in _WHOLE_URLS):
            raise InvalidRequest("The path hides a question mark behind a percent sign.")
        user = cgi_user(variables)
        return NOTHING if user is None else Carried(asserted=user)


class InheritedPipe:
    """Proof of FastCGI: the request has server variables, which nobody but the server's own gateway gives to us."""

    def holds(self, request: HttpRequest) -> bool:
        """Whether it has."""
        return request.variables is not None


def _variable(variables: Mapping[str, object], name: str) -> str:
    value = variables.get(name)
    return value if isinstance(value, str) else ""
