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

_LONGEST_RETRY_S = 60.0


class Room:
    """Counts what is held for one model version.

    A slow upload holds bytes, never a place in the queue.

    Args:
        ref: for sentences.
        max_requests: that may wait in the queue.
        max_bytes: of bodies announced and inputs reserved.
    """

    def __init__(self, ref: ModelRef, max_requests: int, max_bytes: int) -> None:
        self._ref = ref
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self.held_bytes = 0
        self.coming = 0
        """Permits whose request is not in the queue yet: company that is on its way."""

    def enter(self, announced_bytes: int, waiting: int, retry: Callable[[], float]) -> int:
        """Hold room for a body; returns the bytes that are held for it.

        Args:
            waiting: requests in the queue now.
            retry: after how many seconds those who are refused should come again; asked for them alone.

        Raises:
            Overloaded: there is none now.
        """
        # What can never fit is refused when its true length is known: an unannounced body counts as the limit here.
        held = min(max(announced_bytes, _LEAST_BYTES), self._max_bytes)
        if self.held_bytes + held > self._max_bytes:
            after_s = retry()
            raise Overloaded(
                f"Model '{self._ref.name}' version '{self._ref.version}' has no room for {held} more bytes of requests "
                f"now: {self.held_bytes} of {self._max_bytes} are taken. Try again in {after_s:g} s.",
                retry_after_s=after_s,
            )
        self.check_queue(waiting, retry)
        self.held_bytes += held
        self.coming += 1
        return held

    def check_queue(self, waiting: int, retry: Callable[[], float]) -> None:
        """Whether one more may wait.

        Raises:
            Overloaded: none may.
        """
        if waiting >= self._max_requests:
            after_s = retry()
            raise Overloaded(
                f"Model '{self._ref.name}' version '{self._ref.version}' has {waiting} requests waiting, and no more "
                f"may. Try again in {after_s:g} s.",
                retry_after_s=after_s,
            )

    def exchange(self, held: int, length: int) -> int:
        """Swap the announced bytes for those of the decoded inputs; returns what is held now.

        Raises:
            BodyTooLarge: there never will be so much room.
        """
        if length > self._max_bytes:
            raise BodyTooLarge(
                f"The inputs have {length} bytes; model '{self._ref.name}' version '{self._ref.version}' takes at most "
                f"{self._max_bytes} in one request. Send fewer rows."
            )
        self.held_bytes += length - held
        return length

    def leave(self, held: int) -> None:
        """Give bytes back."""
        self.held_bytes -= held


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
