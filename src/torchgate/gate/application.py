"""The user's own application, in which we are mounted, as the request's way sees it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpResponse
from torchgate.gate.services import GateServices


class Way(Protocol):
    """The request's way, as an application that stands at its end may use it."""

    async def settle(self, exchange: Exchange, response: HttpResponse) -> HttpResponse:
        """Write the record of an answer; what may leave: that answer, or a refusal in its place."""
        ...

    def in_force(self) -> AbstractContextManager[GateServices]:
        """The services by which a question that begins now is decided, for as long as it takes."""
        ...


class Application(Protocol):
    """Answers one request whose path is none of ours."""

    def is_public(self, path: str) -> bool:
        """Whether anybody may ask for this path; what is not declared public needs a proven principal."""
        ...

    async def answer(self, exchange: Exchange, way: Way) -> HttpResponse:
        """The answer. One that `has_left` was settled before, and left as `way.settle` gave it.

        Args:
            exchange: its principal is None on public paths alone.

        Raises:
            Exception: anything; a TorchgateError is answered as what it is, all else by 500 without a reason.
        """
        ...
