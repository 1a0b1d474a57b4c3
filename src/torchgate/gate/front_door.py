"""How a request reached us: what that proves, what it carries, and what is wrong with it before anybody is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from torchgate.access.identity.presented import Presented
from torchgate.contract.errors import InvalidRequest, RejectedCredential
from torchgate.gate.certificate_paths import CertificatePaths, with_certificate
from torchgate.gate.errors import ForeignPage, MalformedCredential
from torchgate.gate.http_message import HttpRequest, RequestHeaders


class FrontDoorDeclaration(msgspec.Struct, frozen=True):
    """One way in, as a statement of facts.

    Args:
        name: as `gate.front_door` has it.
        proof: what proves that the front door sent the request; `socket` where it is our own.
        carries: kinds of credentials that may come this way.
        strips: headers that the door itself consumes, gone before credentials are counted.
        is_ambient: whether a browser may add a credential that its page did not choose (all but bearer and API key).
    """

    name: str
    proof: str
    carries: tuple[str, ...]
    strips: tuple[bytes, ...] = ()
    is_ambient: bool = False


FRONT_DOORS: Mapping[str, FrontDoorDeclaration] = MappingProxyType(
    {"direct": FrontDoorDeclaration("direct", proof="socket", carries=("bearer", "api_key", "certificate"))}
)

LOOPBACK_HOSTS = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})

FORWARDING_HEADERS = frozenset({b"forwarded", b"via"})
FORWARDING_PREFIX = b"x-forwarded-"

TRUSTED_NAMES = frozenset(
    {
        b"authorization", b"x-api-key", b"host", b"content-length", b"transfer-encoding", b"content-encoding",
        b"inference-header-content-length", b"x-request-timeout-ms", b"x-request-id", b"sec-fetch-site",
        b"ms-aspnetcore-token", b"ms-aspnetcore-winauthtoken", b"ms-aspnetcore-clientcert",
        b"x-iis-windowsauthtoken", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"remote-user",
        b"x-remote-user",
    }
)  # fmt: skip
"""Names that some front door or reader believes. A twin that some server would fold to one of them is refused.

Source: CVE-2025-64484 and its class; Apache forwards `X_Remote_User` beside its own `X-Remote-User`.
"""

_BEARER = re.compile(rb"([A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]*)(?: (.*))?", re.DOTALL)
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_API_KEY = re.compile(rb"[\x21-\x2b\x2d-\x7e]{1,512}")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_OWN_SITES = frozenset({b"same-origin", b"none"})


class FrontDoor:
    """Examines each request before routes and identity: its Host, its origin, and that it presents one credential.

    Args:
        declaration: which door.
        hosts: allowed in the Host header, without port, besides loopback.
        is_development: development identities exist, so that nothing from elsewhere may come in (DESIGN 4.4).
        certificate_paths: where a client's certificate is a credential.
    """

    def __init__(
        self,
        declaration: FrontDoorDeclaration,
        hosts: Iterable[str] = (),
        *,
        is_development: bool = False,
        certificate_paths: CertificatePaths | None = None,
    ) -> None:
        self.declaration = declaration
        self._certificate_paths = certificate_paths or CertificatePaths(())
        self._is_development = is_development
        named = frozenset(host.lower().encode("ascii") for host in hosts)
        self._hosts = LOOPBACK_HOSTS if is_development else LOOPBACK_HOSTS | named
        self._refuses_foreign_pages = is_development or declaration.is_ambient

    @property
    def name(self) -> str:
        """As configured, for records."""
        return self.declaration.name

    def examine(self, request: HttpRequest) -> None:
        """Whether the request may go on at all, public routes included.

        Raises:
            InvalidRequest: Host, or a header that pretends to be another.
            ForeignPage: a page that is not ours made this request.
        """
        headers = request.headers
        _refuse_twins(headers)
        self._examine_host(headers)
        if self._is_development:
            _refuse_forwarded(headers)
        if self._refuses_foreign_pages:
            _refuse_foreign_page(headers)

    def presented(self, request: HttpRequest) -> Presented:
        """What the request presents; asked only where somebody is to be proven.

        Raises:
            MalformedCredential: two credentials, or one that can't be read.
            RejectedCredential: a scheme that this server does not know.
            ForeignPage: a browser added a certificate to a request of another's page.
        """
        presented = presented_credential(request.headers)
        if request.tls_certificate is None:
            return presented
        presented = with_certificate(presented, request.tls_certificate, self._certificate_paths, request.raw_path)
        if presented.certificate is not None:
            _refuse_foreign_page(request.headers)  # browsers add certificates by themselves
        return presented

    def _examine_host(self, headers: RequestHeaders) -> None:
        host = headers.single(b"host")
        found = _HOST.fullmatch(host or b"")
        if found is None:
            raise InvalidRequest("The request needs one Host header: a name or an address, and maybe a port.")
        if found[1].lower() not in self._hosts:
            raise InvalidRequest(
                "This server does not answer for the name in the Host header. "
                "Use one of its configured names; its operator adds them to gate.hosts."
            )


def presented_credential(headers: RequestHeaders) -> Presented:
    """The one credential of a request, or none.

    Raises:
        MalformedCredential, RejectedCredential: as FrontDoor.presented.
    """
    authorization = headers.first(b"authorization")
    api_key = headers.first(b"x-api-key")
    if authorization is None and api_key is None:
        return Presented(bearer=None, api_key=None)
    if authorization is not None and api_key is not None:
        raise MalformedCredential("Two kinds of credentials came with this request; send one.")
    if headers.is_repeated(b"authorization") or headers.is_repeated(b"x-api-key"):
        raise MalformedCredential("The credential's header was sent more than once; send it once.")
    if api_key is not None:
        if not _API_KEY.fullmatch(api_key):
            raise MalformedCredential("X-API-Key must hold one key: visible ASCII without spaces and commas.")
        return Presented(bearer=None, api_key=api_key.decode("ascii"))
    return Presented(bearer=_bearer(authorization or b""), api_key=None)


def _bearer(authorization: bytes) -> str:
    found = _BEARER.fullmatch(authorization)
    if found is None:
        raise MalformedCredential("Authorization must be a scheme, one space, and one credential.")
    if b"," in authorization:
        raise MalformedCredential("Authorization holds more than one credential; send one.")
    if found[1].lower() != b"bearer":
        raise RejectedCredential("The credential was refused.", detail="an Authorization scheme other than Bearer")
    token = found[2] or b""
    if not _TOKEN.fullmatch(token):
        raise MalformedCredential("Authorization must be `Bearer`, one space, and one token.")
    return token.decode("ascii")


def _refuse_twins(headers: RequestHeaders) -> None:
    for name in headers.names():
        if b"_" in name and name.replace(b"_", b"-") in TRUSTED_NAMES:
            twin = name.replace(b"_", b"-").decode("ascii")
            raise InvalidRequest(f"A header spells {twin} with an underscore; some servers take one for the other.")


def _refuse_forwarded(headers: RequestHeaders) -> None:
    for name in headers.names():
        if name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIX):
            raise InvalidRequest(
                "This server runs with development identities and takes no forwarded requests "
                f"(header {name.decode('latin-1')}). Call it directly, or switch development off."
            )


def _refuse_foreign_page(headers: RequestHeaders) -> None:
    """Browsers add these two by themselves and no page can take them off.

    Source: Fetch Metadata Request Headers; a page on another port of this machine is `same-site`, so foreign.
    """
    site = headers.single(b"sec-fetch-site")
    origin = headers.single(b"origin")
    host = headers.first(b"host") or b""
    is_foreign = site is not None and site.lower() not in _OWN_SITES
    if origin is not None and origin.lower() not in (b"http://" + host.lower(), b"https://" + host.lower()):
        is_foreign = True
    if is_foreign:
        raise ForeignPage("A page of another origin made this request; this server answers only its own pages.")
