"""The quotas of all principals: what a request takes at the door, and what has been used.

Every quota that is about a request must have room; what it needs is taken of all of them at once or of none.
"""

from __future__ import annotations

from collections.abc import Sequence

from torchgate.contract.clock import Clock, monotonic_s
from torchgate.contract.principal import Principal
from torchgate.contract.quota_use import SHARED, QuotaTotal, QuotaUse
from torchgate.engine.quota_charge import Charge
from torchgate.engine.quota_holding import Holding, Quota, Shortage
from torchgate.engine.quota_settings import QuotaSettings, quota_name

_MAX_REMEMBERED = 4096
"""Combinations of roles and model whose quotas are remembered; beyond, all are looked up anew."""


class Quotas:
    """All quotas of one pool.

    Args:
        settings: of each.
        clock: monotonic.

    Process: the event loop only.
    """

    def __init__(self, settings: Sequence[QuotaSettings] = (), clock: Clock = monotonic_s) -> None:
        self._clock = clock
        self._quotas = tuple(Quota(one, quota_name(one, index)) for index, one in enumerate(settings))
        self._remembered: dict[tuple[frozenset[str], str], tuple[Quota, ...]] = {}
        self._own: dict[str, list[Quota]] = {}
        for quota in self._quotas:
            if quota.settings.principal is not None:
                self._own.setdefault(quota.settings.principal, []).append(quota)

    def enter(self, principal: Principal, model: str, request_bytes: int) -> Charge | None:
        """Let a request in; None where no quota is about it.

        Args:
            model: its name.
            request_bytes: that its body announces; where that is more than there is at once, all there is.

        Raises:
            QuotaExceeded: there is no room now; nothing was taken.
        """
        if not self._quotas:
            return None
        selected = self._selected(principal, model)
        if not selected:
            return None
        now, key = self._clock(), principal.key
        request_bytes = max(request_bytes, 0)
        holdings = [quota.of_principal(key, now) for quota in selected]
        longest: Shortage | None = None
        for holding in holdings:
            shortage = holding.shortage(request_bytes, now)
            if shortage is not None and (longest is None or shortage.wait_s > longest.wait_s):
                longest = shortage
        if longest is not None:
            raise longest.error()
        for holding in holdings:
            holding.enter(request_bytes)
        return Charge(holdings, request_bytes, self._clock)

    def use(self, principal: Principal | None) -> tuple[QuotaUse, ...]:
        """What is used.

        Args:
            principal: the quotas that are about this one, used or not; None: what all holders use.
        """
        now = self._clock()
        if principal is None:
            uses = []
            for quota in self._quotas:
                quota.forget_idle(now)
                uses += [use for holding in quota.holdings.values() for use in holding.use(now)]
            return tuple(uses)
        found = [quota for quota in self._quotas if quota.is_about(principal.key, principal.roles)]
        return tuple(use for quota in found for use in _seen(quota, principal.key, now).use(now))

    def totals(self) -> tuple[QuotaTotal, ...]:
        """Each limit over all its holders."""
        now = self._clock()
        return tuple(total for quota in self._quotas for total in quota.totals(now))

    def _selected(self, principal: Principal, model: str) -> Sequence[Quota]:
        place = (principal.roles, model)
        found = self._remembered.get(place)
        if found is None:
            found = self._remember(place)
        own = self._own.get(principal.key) if self._own else None
        if own is None:
            return found
        return [*found, *(quota for quota in own if _takes(quota, principal.roles, model))]

    def _remember(self, place: tuple[frozenset[str], str]) -> tuple[Quota, ...]:
        roles, model = place
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        found = tuple(
            quota for quota in self._quotas if quota.settings.principal is None and _takes(quota, roles, model)
        )
        self._remembered[place] = found
        return found


def _takes(quota: Quota, roles: frozenset[str], model: str) -> bool:
    settings = quota.settings
    return settings.model in (None, model) and (settings.role is None or settings.role in roles)


def _seen(quota: Quota, key: str, now: float) -> Holding:
    """What there is of a holder, or what there would be: looking makes nobody a holder."""
    holder = SHARED if quota.settings.shared else key
    return quota.holdings.get(holder) or Holding(quota, holder, now)
