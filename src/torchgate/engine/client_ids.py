"""Requests in the engine by what their callers call them, so that a caller can take its own back."""

from __future__ import annotations

from collections.abc import Callable

from torchgate.engine.waiting import Waiting

TakeBack = Callable[[Waiting], None]
"""Ends a request with `Cancelled`, wherever its rows are."""


class ClientIds:
    """Every request that has an id of its client's, from the queue until its caller has an answer.

    The key is (principal, id): nobody can name a request of somebody else. Several requests may have one id, as a
    client does that tries again. What is kept here is bounded by the requests in the engine.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[Waiting, TakeBack]] = {}

    def add(self, waiting: Waiting, take_back: TakeBack) -> None:
        """It can be taken back from now on."""
        request = waiting.request
        for client_id in request.client_ids:
            self._known.setdefault((request.principal.key, client_id), {})[waiting] = take_back

    def remove(self, waiting: Waiting) -> None:
        """Its caller has an answer. Safe for one that was never added."""
        request = waiting.request
        for client_id in request.client_ids:
            key = (request.principal.key, client_id)
            called_so = self._known.get(key)
            if called_so is not None:
                called_so.pop(waiting, None)
                if not called_so:
                    del self._known[key]

    def cancel(self, principal_key: str, client_id: str) -> int:
        """Take back all requests of this principal that have this id; how many there were."""
        found = [
            (waiting, take_back)
            for waiting, take_back in self._known.get((principal_key, client_id), {}).items()
            if not waiting.answer.done()
        ]
        for waiting, take_back in found:
            take_back(waiting)
        return len(found)

    def __len__(self) -> int:
        """Pairs of principal and id that are known now."""
        return len(self._known)
