"""The user's own application, in which we are mounted, as the request's way sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpResponse

Settle = Callable[[Exchange, HttpResponse], Awaitable[HttpResponse]]
"""Writes the record of an answer, and gives what may leave: that answer, or a refusal in its place."""


class Application(Protocol):
    """Answers one request whose path is none of ours."""

    def is_public(self, path: str) -> bool:
        """Whether anybody may ask for this path; what is not declared public needs a proven principal."""
        ...

    async def answer(self, exchange: Exchange, settle: Settle) -> HttpResponse:
        """The answer. One that `has_left` was settled before, and left as `settle` gave it.

        Args:
            exchange: its principal is None on public paths alone.

        Raises:
            Exception: anything; a TorchgateError is answered as what it is, all else by 500 without a reason.
        """
        ...
