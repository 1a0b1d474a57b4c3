"""How a request reached us: what that proves, what it carries, and what is wrong with it before anybody is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType

import msgspec

from torchgate.access.identity.presented import Kind, Presented
from torchgate.contract.errors import InvalidRequest, Overloaded, TorchgateError
from torchgate.gate.carriers import NOTHING, Carried, Carrier, CarriesNothing
from torchgate.gate.certificate_paths import CertificatePaths, with_certificate
from torchgate.gate.credentials import presented_credential
from torchgate.gate.declarations import FrontDoorDeclaration
from torchgate.gate.errors import MalformedCredential, UnprovenFrontDoor
from torchgate.gate.foreign_pages import refuse_foreign_page
from torchgate.gate.forwarded import is_of_this_machine, last_hop
from torchgate.gate.http_message import HttpRequest, RequestHeaders
from torchgate.gate.proofs import UNIX_PEER, OwnSocket, Proof

LOOPBACK_HOSTS = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})

FORWARDING_HEADERS = frozenset({b"forwarded", b"via"})
FORWARDING_PREFIX = b"x-forwarded-"

TRUSTED_NAMES = frozenset(
    {
        b"authorization", b"x-api-key", b"host", b"content-length", b"transfer-encoding", b"content-encoding",
        b"inference-header-content-length", b"x-request-timeout-ms", b"x-request-id", b"sec-fetch-site", b"origin",
        b"ms-aspnetcore-token", b"ms-aspnetcore-event", b"ms-aspnetcore-winauthtoken", b"ms-aspnetcore-clientcert",
        b"x-iis-windowsauthtoken", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"remote-user",
        b"x-remote-user", b"x-arr-clientcert", b"client-cert",
    }
)  # fmt: skip
"""Names that some front door or reader believes. A twin that some server would fold to one of them is refused.

Source: CVE-2025-64484 and its class; Apache forwards `X_Remote_User` beside its own `X-Remote-User`.
"""

STOP_PATH = b"/iisintegration"
STOP_EVENT_HEADER = b"ms-aspnetcore-event"

_SURPLUS_RETRY_S = 1.0

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_CALLERS_OWN: frozenset[Kind] = frozenset({"bearer", "api_key"})


class DoorParts(msgspec.Struct, frozen=True):
    """What a front door is made of besides its declaration; put together by front_door_parts.

    Args:
        proof: tells whether it sent a request.
        carrier: reads what it carries.
        base_path: where IIS has mounted us, without a slash at the end; empty: at the root.
        windows_prefix: below which the whole server stands a second time for Windows callers, in lower case; or empty.
        address_header: to which the front door itself appends the address of its client, in lower case; empty: none.
        certificate_paths: where a client's certificate counts as its credential.
        trusted: further header names that are believed, in lower case.
    """

    proof: Proof = OwnSocket()
    carrier: Carrier = CarriesNothing()
    base_path: bytes = b""
    windows_prefix: bytes = b""
    address_header: bytes = b""
    certificate_paths: CertificatePaths = CertificatePaths(())
    trusted: frozenset[bytes] = frozenset()


class Entry(msgspec.Struct, frozen=True):
    """A request that has come to the door.

    Args:
        carried: what the front door says of its caller.
        problem: why it may go no further.
        is_stop: IIS asks this process to end.
    """

    carried: Carried = NOTHING
    problem: TorchgateError | None = None
    is_stop: bool = False


_ENTERED = Entry()
_STOP = Entry(is_stop=True)

_DIRECTLY_KNOWN = frozenset({"direct", "httpplatform-1.2"})


class FrontDoor:
    """Examines each request before routes and identity: its proof, its Host, its origin, and its one credential.

    Args:
        declaration: which door.
        hosts: allowed in the Host header, without port, besides loopback.
        is_development: development identities exist, so that nothing from elsewhere may come in (DESIGN 4.4).
        parts: of doors other than our own socket.
    """

    def __init__(
        self,
        declaration: FrontDoorDeclaration,
        hosts: Iterable[str] = (),
        *,
        is_development: bool = False,
        parts: DoorParts | None = None,
    ) -> None:
        self.declaration = declaration
        self._is_development = is_development
        named = frozenset(host.lower().encode("ascii") for host in hosts)
        self._hosts = LOOPBACK_HOSTS if is_development else LOOPBACK_HOSTS | named
        self._parts = DoorParts() if parts is None else parts
        self._has_carrier = not isinstance(self._parts.carrier, CarriesNothing)
        trusted = TRUSTED_NAMES | self._parts.trusted
        self._twins = MappingProxyType({name.replace(b"_", b"-"): name for name in trusted})
        # A trusted name with an underscore has a twin without one, which no other look would find.
        self._plain_twins = frozenset(plain for plain, name in self._twins.items() if plain != name)

    @property
    def name(self) -> str:
        """As configured, for records."""
        return self.declaration.name

    def enter(self, request: HttpRequest) -> Entry:
        """Whether the request may go on at all, public routes included; never raises, so that a refusal has a record.

        From a proven front door, the request's peer becomes the last hop, and its path starts where we are mounted.
        """
        parts = self._parts
        carried = NOTHING
        try:
            if not parts.proof.holds(request):
                raise UnprovenFrontDoor("The request did not come by the front door.")
            if parts.base_path:
                _strip_base(request, parts.base_path)
            if self.declaration.is_proven:
                if parts.address_header:
                    request.peer = last_hop(request.headers.values(parts.address_header)) or request.peer
                if self._is_stop(request):
                    return _STOP
            if self._has_carrier:
                carried = parts.carrier.take(request)
                if parts.windows_prefix:
                    _strip_base(request, parts.windows_prefix)
            if request.is_surplus:
                raise Overloaded("Too many connections are open; try again.", retry_after_s=_SURPLUS_RETRY_S)
            self._examine(request)
        except TorchgateError as problem:
            return Entry(carried, problem)
        return _ENTERED if carried is NOTHING else Entry(carried)

    def presented(self, request: HttpRequest, carried: Carried = NOTHING) -> Presented:
        """What the request presents; asked only where somebody is to be proven.

        Args:
            carried: as `enter` found it.

        Raises:
            MalformedCredential: two credentials, or one that can't be read.
            RejectedCredential: a scheme that this server does not know.
            ForeignPage: a page that is not ours made this request, with what its browser adds by itself.
        """
        declaration = self.declaration
        found = presented_credential(
            request.headers,
            consumed=declaration.strips if carried.has_user else frozenset(),
            takes_negotiate="negotiate" in declaration.carries,
        )
        if found.proof is not None:
            found.proof.method, found.proof.path = request.method, request.raw_path.decode("latin-1")
        if carried.has_user:
            found = msgspec.structs.replace(found, windows=carried.windows, asserted=carried.asserted)
        certificate = request.tls_certificate if declaration.name == "direct" else carried.certificate
        if certificate is not None:
            found = with_certificate(found, certificate, self._parts.certificate_paths, request.raw_path)
        if carried.has_user and len(found.kinds()) > 1:
            raise MalformedCredential("Two kinds of credentials came with this request; send one.")
        if not _CALLERS_OWN.issuperset(found.kinds()):
            refuse_foreign_page(request.headers)
        return found

    def client_is_here(self, request: HttpRequest) -> bool:
        """Whether the client is on this machine, as far as this door can tell.

        Behind a door without proof everybody's address is the door's own, so that the answer is no; but for
        HttpPlatformHandler 1.2, whose warm-up would be lost: there IIS's own ipSecurity decides.
        """
        declaration, header = self.declaration, self._parts.address_header
        if declaration.proof == "inherited pipe":
            return is_of_this_machine(request.peer)  # a server variable: no header reaches it
        if declaration.is_proven:
            hop = last_hop(request.headers.values(header)) if header else None
            return hop is not None and is_of_this_machine(hop)
        return declaration.name in _DIRECTLY_KNOWN and _is_local(request.peer)

    def _is_stop(self, request: HttpRequest) -> bool:
        """Source: DESIGN 4.1, and what Microsoft's own middleware answers to (iis.md 2)."""
        if request.method != "POST" or self.declaration.proof != "pairing token":
            return False
        if request.raw_path.lower() != STOP_PATH:
            return False
        return [value.strip().lower() for value in request.headers.values(STOP_EVENT_HEADER)] == [b"shutdown"]

    def _examine(self, request: HttpRequest) -> None:
        headers = request.headers
        self._refuse_twins(headers)
        self._examine_host(headers)
        if self._is_development:
            _refuse_forwarded(headers)
            if not _is_local(request.peer):
                raise InvalidRequest(
                    "This server runs with development identities and answers callers on its own machine alone."
                )
            refuse_foreign_page(headers)

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

    def _refuse_twins(self, headers: RequestHeaders) -> None:
        twins, plain_twins = self._twins, self._plain_twins
        for name in headers.names():
            if b"_" in name:
                trusted = twins.get(name.replace(b"_", b"-"), name)
            elif plain_twins and name in plain_twins:
                trusted = twins[name]
            else:
                continue
            if trusted != name:
                raise InvalidRequest(
                    f"A header spells {trusted.decode('ascii')} with other dashes or underscores; "
                    "some servers take one for the other."
                )


def _is_local(peer: str) -> bool:
    return peer == UNIX_PEER or is_of_this_machine(peer)


def _strip_base(request: HttpRequest, base: bytes) -> None:
    """IIS compares the application's path in any case, and hands on the whole path."""
    raw_path = request.raw_path
    if raw_path[: len(base)].lower() == base and raw_path[len(base) : len(base) + 1] in (b"", b"/"):
        request.raw_path = raw_path[len(base) :] or b"/"


def _refuse_forwarded(headers: RequestHeaders) -> None:
    for name in headers.names():
        if name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIX):
            raise InvalidRequest(
                "This server runs with development identities and takes no forwarded requests "
                f"(header {name.decode('latin-1')}). Call it directly, or switch development off."
            )
