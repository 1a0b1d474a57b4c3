"""What a proven front door says of its caller: a Windows token, a user by name, a certificate."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import msgspec

from torchgate.access.identity.presented import AssertedUser
from torchgate.contract.caller_tokens import CallerToken
from torchgate.contract.errors import InvalidRequest, RejectedCredential
from torchgate.contract.windows_tokens import NotAToken, Taken, TokenFacts, WindowsTokens
from torchgate.gate.certificate_headers import CertificateFormat, certificate_der
from torchgate.gate.errors import MalformedCredential
from torchgate.gate.http_message import HttpRequest
from torchgate.gate.marked_paths import MarkedPaths, path_as_front_door_saw_it

MAX_USER_CHARACTERS = 256
MAX_GROUPS = 2000

NOBODY_VALUES = frozenset({"", "(null)"})
"""What front doors write where there is no user; `(null)` is Apache's."""

_HANDLE = re.compile(rb"[0-9a-fA-F]{1,16}")
_PSEUDO_HANDLES = range(2**64 - 32, 2**64)
_PSEUDO_HANDLES_OF_32_BITS = range(2**32 - 32, 2**32)


class Carried(msgspec.Struct, frozen=True):
    """What the front door says; certificates still have to be examined, the rest is what it has examined.

    Args:
        windows: of a Windows token, whose handle is closed by now.
        asserted: a user by name.
        certificate: DER.
        token: our duplicate of the Windows token, where a model may act with its rights; to be closed with the request.
        why_no_token: where there is none although one was wanted: why.
    """

    windows: TokenFacts | None = None
    asserted: AssertedUser | None = None
    certificate: bytes | None = None
    token: CallerToken | None = None
    why_no_token: str = ""

    @property
    def has_user(self) -> bool:
        """Whether the front door itself has examined a credential of the caller."""
        return self.windows is not None or self.asserted is not None


NOTHING = Carried()


class Carrier(Protocol):
    """Takes what a proven front door carries."""

    def take(self, request: HttpRequest) -> Carried:
        """What it carries for this request.

        Raises:
            RejectedCredential, MalformedCredential, InvalidRequest: it can't be read, or is no such thing.
        """
        ...


class CarriesNothing:
    """A front door that only hands requests on."""

    def take(self, request: HttpRequest) -> Carried:
        """Nothing."""
        return NOTHING


class IisCarrier:
    """IIS's modules: the handle of a Windows token on marked paths, a certificate on others.

    Args:
        header: of the handle, in lower case.
        tokens: reads them; None where this server takes no Windows identities.
        marked: where IIS lets nobody pass who is not Windows-authenticated.
        closes_elsewhere: the module takes this header off what clients send, so that a handle is the module's own
            on every path, and must be closed there, too.
        has_certificates: the module hands on client certificates.
        wants_rights: asked with each token: whether a model is served now that acts with its caller's rights.
    """

    def __init__(
        self,
        header: bytes,
        tokens: WindowsTokens | None,
        marked: MarkedPaths,
        *,
        closes_elsewhere: bool,
        has_certificates: bool,
        wants_rights: Callable[[], bool] = lambda: False,
    ) -> None:
        self._header = header
        self._tokens = tokens
        self._marked = marked
        self._closes_elsewhere = closes_elsewhere
        self._has_certificates = has_certificates
        self._wants_rights = wants_rights

    def take(self, request: HttpRequest) -> Carried:
        """The token first: whatever is wrong with the request, its handle is closed by then."""
        try:
            path = path_as_front_door_saw_it(request.raw_path)
        except InvalidRequest:
            self._close_unbelieved(request)
            raise
        taken = None
        if path in self._marked:
            taken = self._taken(request)
        else:
            self._close_unbelieved(request)
        try:
            certificate = None
            if self._has_certificates:
                certificate = header_certificate(request, b"ms-aspnetcore-clientcert", "der")
        except BaseException:
            if taken is not None and taken.token is not None:
                taken.token.close()
            raise
        if taken is None:
            return Carried(certificate=certificate)
        return Carried(windows=taken.facts, certificate=certificate, token=taken.token, why_no_token=taken.why_not)

    def _taken(self, request: HttpRequest) -> Taken | None:
        values = request.headers.values(self._header)
        if not values:
            return None
        if self._tokens is None:
            raise _rejected("Windows tokens are not enabled")
        if len(values) > 1:
            raise _rejected("more than one Windows token")
        handle = token_handle(values[0])
        try:
            return self._tokens.take_and_keep(handle) if self._wants_rights() else Taken(self._tokens.take(handle))
        except NotAToken as error:
            raise _rejected(f"not a Windows token: {error}") from None

    def _close_unbelieved(self, request: HttpRequest) -> None:
        """Close what the module has duplicated for us, where we don't believe it."""
        if not self._closes_elsewhere or self._tokens is None:
            return
        for value in request.headers.values(self._header):
            try:
                self._tokens.take(token_handle(value))
            except (NotAToken, RejectedCredential):
                continue


class ProxyCarrier:
    """A proxy that has proven itself: names of user and groups, and a certificate, in headers as configured.

    Args:
        user_header, groups_header, certificate_header, verified_header: names in lower case; None: not carried.
        separator: between the names of groups.
        form: of the certificate.
    """

    def __init__(
        self,
        *,
        user_header: bytes | None = None,
        groups_header: bytes | None = None,
        separator: str = ",",
        certificate_header: bytes | None = None,
        verified_header: bytes | None = None,
        form: CertificateFormat = "nginx",
    ) -> None:
        self._user_header = user_header
        self._groups_header = groups_header
        self._separator = separator
        self._certificate_header = certificate_header
        self._verified_header = verified_header
        self._form: CertificateFormat = form

    def take(self, request: HttpRequest) -> Carried:
        """User with groups, and certificate."""
        asserted = certificate = None
        if self._user_header is not None:
            asserted = self._user(request, self._user_header)
        if self._certificate_header is not None and self._is_verified(request):
            certificate = header_certificate(request, self._certificate_header, self._form)
        return Carried(asserted=asserted, certificate=certificate)

    def _user(self, request: HttpRequest, header: bytes) -> AssertedUser | None:
        name = _text(request, header)
        if name in NOBODY_VALUES:
            return None
        if "," in name:
            raise MalformedCredential("The front door names more than one user, or one with a comma.")
        if self._groups_header is None:
            return AssertedUser(asserted_name(name))
        listed = _text(request, self._groups_header)
        groups = () if listed in NOBODY_VALUES else tuple(group.strip() for group in listed.split(self._separator))
        if len(groups) > MAX_GROUPS:
            raise MalformedCredential("The front door names more groups than this server takes.")
        return AssertedUser(asserted_name(name), tuple(asserted_name(group) for group in groups if group))

    def _is_verified(self, request: HttpRequest) -> bool:
        if self._verified_header is None:
            return True
        verdict = _text(request, self._verified_header)
        if verdict in NOBODY_VALUES or verdict == "NONE":
            return False
        if verdict != "SUCCESS":
            raise _rejected("the front door could not verify the client certificate")
        return True


def asserted_name(text: str) -> str:
    """A name that a front door says, fit to be compared and written down.

    Raises:
        MalformedCredential: it is none.
    """
    if len(text) > MAX_USER_CHARACTERS or not text.isprintable() or text != text.strip():
        raise MalformedCredential("The front door names a user or group by what can't be a name.")
    return text


def header_certificate(request: HttpRequest, header: bytes, form: CertificateFormat) -> bytes | None:
    """DER of the certificate in a header of a proven front door; None where there is none.

    Raises:
        MalformedCredential: it holds none, or came twice.
    """
    values = request.headers.values(header)
    if len(values) > 1:
        raise MalformedCredential("The front door's header of the client certificate came more than once.")
    if not values or values[0] in (b"", b"(null)"):
        return None
    return certificate_der(values[0], form)


def token_handle(value: bytes) -> int:
    """The number in the header of a Windows token (DESIGN 10).

    Raises:
        RejectedCredential: it is no handle, or one that means the process or thread itself.
    """
    if not _HANDLE.fullmatch(value):
        raise _rejected("the Windows token is no handle")
    handle = int(value, 16)
    if handle == 0 or handle in _PSEUDO_HANDLES or handle in _PSEUDO_HANDLES_OF_32_BITS:
        raise _rejected("the Windows token is no handle")
    return handle


def _text(request: HttpRequest, header: bytes) -> str:
    """A header of the front door; more than one is one of somebody else."""
    values = request.headers.values(header)
    if len(values) > 1:
        raise MalformedCredential("A header that the front door sets came more than once.")
    try:
        return values[0].decode("utf-8") if values else ""
    except UnicodeDecodeError:
        raise MalformedCredential("A header that the front door sets is not UTF-8.") from None


def _rejected(detail: str) -> RejectedCredential:
    return RejectedCredential("The credential was refused.", detail=detail)
