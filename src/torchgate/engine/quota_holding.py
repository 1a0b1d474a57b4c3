"""One configured quota, and what each of its holders has used of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from torchgate.contract.errors import BodyTooLarge, QuotaExceeded
from torchgate.contract.quota_use import SHARED, QuotaTotal, QuotaUnit, QuotaUse
from torchgate.engine.quota_bucket import QuotaBucket
from torchgate.engine.quota_settings import QuotaSettings

_RETRY_CONCURRENT_S = 1.0
"""Told where a place becomes free when another request ends: nobody knows when."""

_LOOKED_AT = 2
"""Old holders that each new one makes us look at: two, so that those who are idle go faster than others come."""

_NOUNS: dict[QuotaUnit, str] = {
    "requests_per_minute": "requests",
    "concurrent_requests": "requests at a time",
    "rows_per_minute": "rows",
    "request_bytes_per_minute": "bytes",
    "compute_seconds_per_minute": "compute-seconds",
}


class Holding:
    """What one holder has used of one quota.

    Args:
        quota: whose limits these are.
        holder: key of a principal, or SHARED.
        now: on the monotonic clock.
    """

    __slots__ = ("compute", "holder", "max_running", "quota", "request_bytes", "requests", "rows", "running")

    def __init__(self, quota: Quota, holder: str, now: float) -> None:
        self.quota = quota
        self.holder = holder
        self.running = 0
        self.max_running = quota.settings.concurrent_requests
        self.requests = self._bucket("requests_per_minute", now)
        self.rows = self._bucket("rows_per_minute", now)
        self.request_bytes = self._bucket("request_bytes_per_minute", now)
        self.compute = self._bucket("compute_seconds_per_minute", now)

    def shortage(self, request_bytes: int, now: float) -> Shortage | None:
        """What keeps one more request from entering, the one that lasts longest; None where there is room."""
        unit: QuotaUnit | None = None
        wait_s, needed = 0.0, 0.0
        if self.max_running is not None and self.running >= self.max_running:
            wait_s, unit = _RETRY_CONCURRENT_S, "concurrent_requests"
        bucket = self.requests
        if bucket is not None and (other_s := bucket.wait_s(1.0, now)) > wait_s:
            wait_s, unit, needed = other_s, "requests_per_minute", 1.0
        bucket = self.request_bytes
        if bucket is not None:
            announced = min(float(request_bytes), bucket.capacity)
            if (other_s := bucket.wait_s(announced, now)) > wait_s:
                wait_s, unit, needed = other_s, "request_bytes_per_minute", announced
        bucket = self.compute
        if bucket is not None and (other_s := bucket.wait_s(0.0, now)) > wait_s:
            wait_s, unit, needed = other_s, "compute_seconds_per_minute", 0.0
        return None if unit is None else Shortage(self, unit, needed, wait_s)

    def enter(self, request_bytes: int) -> None:
        """Take what one request needs at the door, after `shortage` at the same time."""
        self.running += 1
        if self.requests is not None:
            self.requests.take(1.0)
        if self.request_bytes is not None:
            self.request_bytes.take(min(float(request_bytes), self.request_bytes.capacity))

    def is_idle(self, now: float) -> bool:
        """Whether it is as a new one would be, so that it can be forgotten."""
        return not self.running and all(bucket.fill(now) >= bucket.capacity for _, bucket in self.buckets())

    def buckets(self) -> Iterator[tuple[QuotaUnit, QuotaBucket]]:
        """Its limits over time."""
        if self.requests is not None:
            yield "requests_per_minute", self.requests
        if self.rows is not None:
            yield "rows_per_minute", self.rows
        if self.request_bytes is not None:
            yield "request_bytes_per_minute", self.request_bytes
        if self.compute is not None:
            yield "compute_seconds_per_minute", self.compute

    def use(self, now: float) -> Iterator[QuotaUse]:
        """What is used of each limit."""
        settings, name, model = self.quota.settings, self.quota.name, self.quota.settings.model or ""
        if self.max_running is not None:
            at_once = float(self.max_running)
            yield QuotaUse(name, "concurrent_requests", at_once, at_once, float(self.running), self.holder, model)
        for unit, bucket in self.buckets():
            bucket.fill(now)
            limit = float(getattr(settings, unit))
            yield QuotaUse(name, unit, limit, bucket.capacity, bucket.used, self.holder, model)

    def _bucket(self, unit: QuotaUnit, now: float) -> QuotaBucket | None:
        limit = getattr(self.quota.settings, unit)
        return None if limit is None else QuotaBucket(self.quota.settings.at_once(unit), limit / 60.0, now)


class Shortage(msgspec.Struct, frozen=True):
    """What a holding lacks for a request.

    Args:
        needed: of the unit; 0 where what is owed must be paid back first.
        wait_s: until there is room.
    """

    holding: Holding
    unit: QuotaUnit
    needed: float
    wait_s: float

    def error(self) -> QuotaExceeded:
        """The refusal; counted."""
        holding, unit = self.holding, self.unit
        holding.quota.refusals[unit] += 1
        again = f"Try again in {_shown(self.wait_s)} s."
        if unit == "concurrent_requests":
            seen = f"{holding.running} of {holding.max_running} requests at a time are under way"
        else:
            bucket = next(bucket for known, bucket in holding.buckets() if known == unit)
            needs = f" and this request needs {_shown(self.needed)}" if self.needed else ""
            seen = (
                f"{_shown(bucket.used)} of {_shown(bucket.capacity)} {_NOUNS[unit]} are used{needs}; "
                f"{_shown(getattr(holding.quota.settings, unit))} come back each minute"
            )
        return QuotaExceeded(
            f"{holding.quota.title} has no room for this request: {seen}. {again}", retry_after_s=self.wait_s
        )


class Quota:
    """One quota of the settings, and its holders.

    Args:
        settings: its limits and whom it selects.
        name: unique.
    """

    def __init__(self, settings: QuotaSettings, name: str) -> None:
        self.settings = settings
        self.name = name
        self.holdings: OrderedDict[str, Holding] = OrderedDict()
        self.refusals: dict[QuotaUnit, int] = {unit: 0 for unit, _ in settings.limits()}

    @property
    def title(self) -> str:
        """For sentences: which quota, about what."""
        about = f" of model '{self.settings.model}'" if self.settings.model is not None else ""
        return f"Quota '{self.name}'{about}{', shared by all,' if self.settings.shared else ''}"

    def is_about(self, key: str, roles: frozenset[str]) -> bool:
        """Whether it selects this principal, whatever the model."""
        settings = self.settings
        return (settings.role is None or settings.role in roles) and settings.principal in (None, key)

    def of_principal(self, key: str, now: float) -> Holding:
        """What this principal's requests are counted in; made where there is none yet."""
        holder = SHARED if self.settings.shared else key
        found = self.holdings.get(holder)
        return found if found is not None else self._new(holder, now)

    def attach(self, holding: Holding) -> Holding:
        """The holding as it counts now: this one again, if it was forgotten and no other has come for its holder."""
        return self.holdings.setdefault(holding.holder, holding)

    def never(self, unit: QuotaUnit, needed: float) -> BodyTooLarge:
        """The refusal of what is more than there ever is at once; counted."""
        self.refusals[unit] += 1
        todo = "Send fewer rows." if unit == "rows_per_minute" else "Send less at a time."
        return BodyTooLarge(
            f"This request has {_shown(needed)} {_NOUNS[unit]}, and {self.title} never has room for more than "
            f"{_shown(self.settings.at_once(unit))} at once. {todo}"
        )

    def forget_idle(self, now: float) -> None:
        """Look at all holders, and forget those who have used nothing that is not back."""
        for holder, holding in list(self.holdings.items()):
            if holding.is_idle(now):
                del self.holdings[holder]

    def totals(self, now: float) -> Iterator[QuotaTotal]:
        """Each limit over all holders, the idle ones forgotten."""
        self.forget_idle(now)
        uses = [use for holding in self.holdings.values() for use in holding.use(now)]
        for unit, limit in self.settings.limits():
            used = [use for use in uses if use.unit == unit and use.used > 0.0]
            least = 0.0 if unit == "compute_seconds_per_minute" else 1.0
            exhausted = sum(use.at_once - use.used < least for use in used)
            highest = max((use.used / use.at_once for use in used), default=0.0)
            yield QuotaTotal(self.name, unit, limit, self.refusals[unit], len(used), exhausted, highest)

    def _new(self, holder: str, now: float) -> Holding:
        for _ in range(min(_LOOKED_AT, len(self.holdings))):
            oldest, holding = self.holdings.popitem(last=False)
            if not holding.is_idle(now):
                self.holdings[oldest] = holding
        made = self.holdings[holder] = Holding(self, holder, now)
        return made


def _shown(number: float) -> str:
    """Without an exponent, and no more decimals than matter."""
    return f"{number:.3f}".rstrip("0").rstrip(".")
