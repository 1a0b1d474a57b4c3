"""Requests as they come to a front door, made by hand, and handles of Windows tokens as IIS would duplicate them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.fakes.windows_tokens import FakeObject, FakeTokens

from torchgate.contract.windows_tokens import TokenFacts
from torchgate.gate.front_door import Entry, FrontDoor
from torchgate.gate.http_message import HttpRequest, RequestHeaders

HOST = (b"host", b"127.0.0.1:8080")
ALICE_SID = "S-1-5-21-1-2-3-1001"


class NoBody:
    """A request without a body."""

    is_complete = True
    is_here = True

    async def read(self) -> bytes:
        """Nothing."""
        return b""


class NeverGone:
    """A client that stays."""

    gone = False
    is_framing_broken = False

    def watch(self, on_gone: object) -> None:
        """Nothing to tell."""

    def unwatch(self) -> None:
        """Nothing to forget."""


def door_request(
    *headers: tuple[bytes, bytes],
    method: str = "POST",
    path: bytes = b"/v2",
    peer: str = "127.0.0.1",
    certificate: bytes | None = None,
    variables: Mapping[str, str] | None = None,
) -> HttpRequest:
    """A request with these headers."""
    return HttpRequest(
        method=method,
        raw_path=path,
        headers=RequestHeaders(headers),
        peer=peer,
        body=NoBody(),
        disconnect=NeverGone(),
        tls_certificate=certificate,
        variables=variables,
    )


def entered(door: FrontDoor, request: HttpRequest) -> Entry:
    """What the door makes of a request; raises what the door found wrong."""
    entry = door.enter(request)
    if entry.problem is not None:
        raise entry.problem
    return entry


class OpenHandles:
    """The handle table of this process, and what was asked of it.

    Args:
        tokens: handle → what its token says.
        others: handles of other things, which nobody may close.
    """

    def __init__(self, tokens: Mapping[int, TokenFacts] | None = None, others: Iterable[int] = ()) -> None:
        self.table = FakeTokens()
        self.table.open.update({handle: FakeObject(facts) for handle, facts in (tokens or {}).items()})
        self.table.open.update({handle: FakeObject() for handle in others})
        self.asked: list[int] = []

    @property
    def closed(self) -> list[int]:
        """Handles, in order."""
        return self.table.closings

    def take(self, handle: int) -> TokenFacts:
        """As the contract says."""
        self.asked.append(handle)
        return self.table.take(handle)
