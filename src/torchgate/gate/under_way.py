"""Requests that are not in the engine yet, by what their clients call them: a cancel may come right behind its request.

From the moment when it is known who asks until the engine has the request, which knows its ids from there on. Between
the two is no gap: a request leaves this list in the same turn of the loop in which it is handed over, and what is
handed over to a pool in another process is written before the question to cancel it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from torchgate.contract.errors import Cancelled

_Answer = TypeVar("_Answer")


class RequestsUnderWay:
    """All of one gate; bounded by the connections that there may be.

    The key is (principal, id): nobody can name a request of somebody else. Several requests may have one id.

    Process: the event loop only.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], set[UnderWay]] = {}

    def cancel(self, principal_key: str, client_id: str) -> int:
        """Take back all requests of this principal that have this id; how many there were."""
        found = [one for one in self._known.get((principal_key, client_id), ()) if not one.is_taken_back]
        for one in found:
            one.take_back()
        return len(found)

    def __len__(self) -> int:
        """Pairs of principal and id that are known now."""
        return len(self._known)

    def add(self, key: tuple[str, str], one: UnderWay) -> None:
        """It can be taken back by this from now on."""
        self._known.setdefault(key, set()).add(one)

    def remove(self, key: tuple[str, str], one: UnderWay) -> None:
        """It can't any more."""
        called_so = self._known[key]
        called_so.discard(one)
        if not called_so:
            del self._known[key]


class UnderWay:
    """One request on its way through the gate, for the block.

    Args:
        requests: where it is to be found.
        principal_key: whose it is.
    """

    __slots__ = ("_keys", "_principal_key", "_requests", "_task", "is_taken_back")

    def __init__(self, requests: RequestsUnderWay, principal_key: str) -> None:
        self._requests = requests
        self._principal_key = principal_key
        self._keys: set[tuple[str, str]] = set()
        self._task: asyncio.Task[object] | None = None
        self.is_taken_back = False

    def called(self, client_ids: Iterable[str]) -> None:
        """It has these ids, too."""
        for client_id in client_ids:
            key = (self._principal_key, client_id)
            if key not in self._keys:
                self._keys.add(key)
                self._requests.add(key, self)

    def handed_over(self) -> None:
        """The engine has it, or there is an answer. Safe to call twice."""
        for key in self._keys:
            self._requests.remove(key, self)
        self._keys.clear()

    def take_back(self) -> None:
        """End its way here."""
        self.is_taken_back = True
        if self._task is not None:
            self._task.cancel()

    async def unless_taken_back(self, way: Awaitable[_Answer]) -> _Answer:
        """What comes of the way.

        Raises:
            Cancelled: its caller has taken it back. And what the way raises.
        """
        task = self._task = asyncio.current_task()
        try:
            return await way
        except asyncio.CancelledError:
            if not self.is_taken_back or task is None:
                raise
            task.uncancel()
            raise Cancelled("This request was cancelled by its caller.") from None
        finally:
            self.handed_over()
