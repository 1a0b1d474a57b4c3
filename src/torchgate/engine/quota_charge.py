"""What one request has taken of its principal's quotas, and how it is exchanged, added to and given back."""

from __future__ import annotations

from collections.abc import Sequence

from torchgate.contract.clock import Clock
from torchgate.engine.quota_holding import Holding, Shortage


class Charge:
    """One request's share of each quota that is about it, from the door on.

    Args:
        holdings: of its quotas; one request, running, and its bytes have been taken of each.
        request_bytes: that were taken, where a holding has so much.
        clock: monotonic.
    """

    __slots__ = ("_bytes", "_clock", "_has_bytes", "_has_rows", "_holdings", "_is_over", "_is_refunded", "_rows")

    def __init__(self, holdings: Sequence[Holding], request_bytes: int, clock: Clock) -> None:
        self._holdings = holdings
        self._bytes = request_bytes
        self._clock = clock
        self._rows = 0
        self._has_bytes = self._has_rows = False
        for holding in holdings:
            self._has_bytes |= holding.request_bytes is not None
            self._has_rows |= holding.rows is not None
        self._is_over = False
        self._is_refunded = False

    def exchange_bytes(self, length: int) -> None:
        """Swap the announced bytes for those of the decoded inputs.

        Raises:
            QuotaExceeded: these are more, and there is no room for them now; then nothing was exchanged.
            BodyTooLarge: there never will be.
        """
        if not self._has_bytes:
            return
        changes = [(holding, bucket) for holding in self._holdings if (bucket := holding.request_bytes) is not None]
        for holding, bucket in changes:  # also where as many were announced: then only what there ever is was taken
            if length > bucket.capacity:
                raise holding.quota.never("request_bytes_per_minute", length)
        if length == self._bytes:
            return
        now, short = self._clock(), []
        for holding, bucket in changes:
            wait_s = bucket.wait_s(length - min(self._bytes, bucket.capacity), now)
            short.append(Shortage(holding, "request_bytes_per_minute", length, wait_s))
        _check(short)
        for _, bucket in changes:
            bucket.take(length)
            bucket.give_back(min(self._bytes, bucket.capacity))
        self._bytes = length

    def take_rows(self, rows: int) -> None:
        """Take the rows, before the queue.

        Raises:
            QuotaExceeded: there is no room for them now; then none were taken.
            BodyTooLarge: there never will be.
        """
        if not self._has_rows:
            return
        changes = [(holding, bucket) for holding in self._holdings if (bucket := holding.rows) is not None]
        now, short = self._clock(), []
        for holding, bucket in changes:
            if rows > bucket.capacity:
                raise holding.quota.never("rows_per_minute", rows)
            short.append(Shortage(holding, "rows_per_minute", rows, bucket.wait_s(rows, now)))
        _check(short)
        for _, bucket in changes:
            bucket.take(rows)
        self._rows = rows

    def take_compute(self, compute_s: float) -> None:
        """Charge time of a worker, also after the end of the request: who left has used it all the same."""
        for holding in self._holdings:
            if holding.compute is not None:
                bucket = holding.quota.attach(holding).compute
                if bucket is not None:
                    bucket.fill(self._clock())
                    bucket.take(compute_s)

    def refund(self) -> None:
        """The request was refused, and not for what it is: it has used nothing. Its place is kept until `end`."""
        if self._is_refunded:
            return
        self._is_refunded = True
        for holding in self._holdings:
            if holding.requests is not None:
                holding.requests.give_back(1.0)
            if holding.rows is not None:
                holding.rows.give_back(self._rows)
            if holding.request_bytes is not None:
                holding.request_bytes.give_back(min(self._bytes, holding.request_bytes.capacity))
        self._bytes = self._rows = 0

    def end(self) -> None:
        """The request is over, however it ended. Safe to call twice."""
        if self._is_over:
            return
        self._is_over = True
        for holding in self._holdings:
            holding.running -= 1


def _check(shortages: Sequence[Shortage]) -> None:
    """Raises:
    QuotaExceeded: the one that lasts longest.
    """
    longest = max(shortages, key=lambda shortage: shortage.wait_s, default=None)
    if longest is not None and longest.wait_s > 0.0:
        raise longest.error()
