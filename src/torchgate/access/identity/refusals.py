"""How many refused credentials of one address are answered and audited one by one; the rest are counted.

Otherwise whoever can reach us could fill the disk with audited 401s (DESIGN 4.2).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from torchgate.access.settings import RefusalSettings
from torchgate.access.token_bucket import TokenBucket
from torchgate.contract.audit_event import RefusalsEvent
from torchgate.contract.clock import Clock

EVERYBODY_ELSE = "*"
"""Stands for the addresses that came when the table was full."""
_SWEEP_INTERVAL_S = 1.0  # seconds between looks through a full table, each of which takes about a millisecond


class RefusalLimiter:
    """Limits refusals by address, in bounded memory.

    Args:
        settings: the limits.
        front_door: configured name, for the events.
        clock: seconds, monotonic.
        wall_clock: Unix seconds.

    Thread/process: one event loop.
    """

    def __init__(
        self, settings: RefusalSettings, *, front_door: str, clock: Clock, wall_clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._front_door = front_door
        self._clock = clock
        self._wall_clock = wall_clock
        self._buckets: dict[str, TokenBucket] = {}
        self._excess: dict[str, int] = {}
        self._drained_at = self._swept_at = clock()

    @property
    def interval_s(self) -> float:
        """How often `drain` is to be asked."""
        return self._settings.interval_s

    def take(self, peer: str) -> bool:
        """Whether this refusal is answered and audited by itself; False: 429, and only counted."""
        place = place_of(peer)
        if place not in self._buckets and len(self._buckets) >= self._settings.max_addresses:
            if self._clock() - self._swept_at >= _SWEEP_INTERVAL_S:
                self._forget_idle()
            if len(self._buckets) >= self._settings.max_addresses:
                place = EVERYBODY_ELSE
        bucket = self._buckets.get(place)
        if bucket is None:
            per_second = self._settings.per_minute / 60
            bucket = self._buckets[place] = TokenBucket(self._settings.burst, per_second, self._clock)
        if bucket.take():
            return True
        self._excess[place] = self._excess.get(place, 0) + 1
        return False

    def drain(self) -> list[RefusalsEvent]:
        """One event for each address that went beyond its bucket since the last call."""
        now, at = self._clock(), self._wall_clock()
        interval_s, self._drained_at = now - self._drained_at, now
        excess, self._excess = self._excess, {}
        self._forget_idle()
        return [RefusalsEvent(at, peer, self._front_door, count, interval_s) for peer, count in excess.items()]

    def _forget_idle(self) -> None:
        self._swept_at = self._clock()
        self._buckets = {place: bucket for place, bucket in self._buckets.items() if not bucket.is_full}


def place_of(peer: str) -> str:
    """What shares a limit: an IPv4 address, an IPv6 /64 (one customer has all of it), or another text as it is."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
