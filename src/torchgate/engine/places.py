"""Who may wait in a full queue: whoever holds most of it gives way, and the innocent is never refused."""

from __future__ import annotations

from collections.abc import Callable

from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import Overloaded
from torchgate.contract.principal import Principal
from torchgate.engine.batcher import Batcher
from torchgate.engine.run_errors import queue_full


class Places:
    """The places of one queue.

    Args:
        ref: of the version, for sentences.
        batcher: the queue.
        most: requests that may wait.
        retry_after_s: when those who are refused should come again.
    """

    def __init__(self, ref: ModelRef, batcher: Batcher, most: int, retry_after_s: Callable[[], float]) -> None:
        self._ref = ref
        self._batcher = batcher
        self._most = most
        self._retry_after_s = retry_after_s

    def check(self, principal: Principal) -> None:
        """Whether a request of this principal could wait now, if need be instead of one of whoever holds most.

        Raises:
            Overloaded: it holds most itself.
        """
        if self._batcher.requests >= self._most and self._batcher.would_crowd(principal):
            raise self._full()

    def make(self) -> None:
        """Whoever holds most of a queue that is too full gives way with its last request."""
        while self._batcher.requests > self._most:
            pushed_out = self._batcher.push_out()
            if pushed_out is not None:
                pushed_out.fail(self._full())

    def _full(self) -> Overloaded:
        return queue_full(self._ref, self._most, self._retry_after_s())
