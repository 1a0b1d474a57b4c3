"""Whether there is room for one more request of a model version: decided at the door, in requests and bytes.

Quotas of principals are asked before `Room` (engine/quotas.py): who is over its own quota takes no room.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import BodyTooLarge, Overloaded

_LEAST_BYTES = 4096
"""What a request counts at least at the door: its own objects are not free."""

_FREE_TIMES = 3
"""Of what is free, anybody may hold at most so many times as much."""

_LONGEST_RETRY_S = 60.0


class Room:
    """Counts what is held for one model version, and by whom.

    A slow upload holds bytes, never a place in the queue. What an upload or a run holds can't be taken back; so nobody
    may hold so much that nothing is left: at most three times what is free afterwards. One principal alone gets three
    quarters, of two each three sevenths, and the next to come always finds something.

    Args:
        ref: for sentences.
        max_requests: that may wait in the queue.
        max_bytes: of bodies announced and inputs reserved.
    """

    def __init__(self, ref: ModelRef, max_requests: int, max_bytes: int) -> None:
        self._ref = ref
        self.max_requests = max_requests
        self._max_bytes = max_bytes
        self._by_principal: dict[str, int] = {}
        self.held_bytes = 0
        self.coming = 0
        """Permits whose request is not in the queue yet: company that is on its way."""

    def enter(self, key: str, announced_bytes: int, retry: Callable[[], float]) -> int:
        """Hold room for a body; returns the bytes that are held for it.

        Args:
            key: of the principal.
            retry: after how many seconds those who are refused should come again; asked for them alone.

        Raises:
            Overloaded: there is none now.
        """
        # What can never fit is refused when its true length is known: an unannounced body counts as the limit here.
        held = min(max(announced_bytes, _LEAST_BYTES), self._max_bytes // 4)
        self._hold(key, held, retry)
        self.coming += 1
        return held

    def exchange(self, key: str, held: int, length: int, retry: Callable[[], float]) -> int:
        """Swap the announced bytes for those of the decoded inputs; returns what is held now.

        Raises:
            BodyTooLarge: there never will be so much room.
            Overloaded: there is none now; what was held is held.
        """
        most = self._max_bytes * _FREE_TIMES // (_FREE_TIMES + 1)
        if length > most:
            raise BodyTooLarge(
                f"The inputs have {length} bytes; model '{self._ref.name}' version '{self._ref.version}' takes at most "
                f"{most} in one request. Send fewer rows."
            )
        length = max(length, _LEAST_BYTES)
        if length > held:
            self._hold(key, length - held, retry)
        elif length < held:
            self.leave(key, held - length)
        return length

    def leave(self, key: str, held: int) -> None:
        """Give bytes back."""
        self.held_bytes -= held
        left = self._by_principal.get(key, 0) - held
        if left:
            self._by_principal[key] = left
        else:
            self._by_principal.pop(key, None)

    def _hold(self, key: str, more: int, retry: Callable[[], float]) -> None:
        total = self.held_bytes + more
        own = self._by_principal.get(key, 0) + more
        if own > _FREE_TIMES * (self._max_bytes - total):
            after_s = retry()
            raise Overloaded(
                f"Model '{self._ref.name}' version '{self._ref.version}' has no room for {more} more bytes of your "
                f"requests now: {self.held_bytes} of {self._max_bytes} are taken, {own - more} of them by you, and "
                f"some stay free for others. Try again in {after_s:g} s.",
                retry_after_s=after_s,
            )
        self.held_bytes = total
        self._by_principal[key] = own


def retry_after_s(waiting: int, run_s: float, batch_requests: float, replicas: int) -> float:
    """Whole seconds until the queue that is there now will have been worked off, 1 to 60.

    Args:
        waiting: requests in the queue.
        run_s: mean duration of a batch, in seconds.
        batch_requests: mean requests in a batch.
        replicas: that work on it.
    """
    batches = waiting / max(1.0, batch_requests) / max(1, replicas)
    return min(_LONGEST_RETRY_S, max(1.0, math.ceil(batches * run_s)))
