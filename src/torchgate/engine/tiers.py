"""Priorities between roles: a higher tier goes first, and yet a lower one is never shut out."""

from __future__ import annotations

from torchgate.engine.turns import Tier

LOWER_TIER_PART = 0.1
"""Of the time, which a lower tier gets at least while it waits: one batch of ten, where batches take equally long."""


class Tiers:
    """All tiers of one queue, the highest first."""

    def __init__(self) -> None:
        self._tiers: dict[int, Tier] = {}
        self._in_order: tuple[Tier, ...] = ()

    def of(self, priority: int) -> Tier:
        """The tier of this priority."""
        tier = self._tiers.get(priority)
        if tier is None:
            tier = self._tiers[priority] = Tier()
            self._in_order = tuple(self._tiers[one] for one in sorted(self._tiers, reverse=True))
        return tier

    def leader(self, batch_s: float) -> tuple[Tier, float]:
        """Whose turn it is, and the part of what it is owed that is the reason, in seconds; somebody waits.

        Args:
            batch_s: what a batch takes, about: nobody is owed less.
        """
        if len(self._in_order) == 1:
            return self._in_order[0], 0.0
        waiting = [tier for tier in self._in_order if tier.lines]
        most_owed = max(waiting[1:], key=lambda tier: tier.owed_s, default=None)
        if most_owed is not None and most_owed.owed_s >= batch_s > 0:
            return most_owed, batch_s
        return waiting[0], 0.0

    def beside(self, leader: Tier) -> tuple[Tier, ...]:
        """The others, for what is left of a batch."""
        if len(self._in_order) == 1:
            return ()
        return tuple(tier for tier in self._in_order if tier is not leader)

    def ran(self, leader: Tier, batch_s: float, mean_s: float, paid_s: float) -> None:
        """A batch that this tier led took so long.

        Args:
            mean_s: what batches take, about.
            paid_s: what it was owed less for it when it began.
        """
        if len(self._in_order) == 1:
            return
        if paid_s:
            leader.owed_s -= batch_s - paid_s
        is_lower = False
        for tier in self._in_order:
            if is_lower and tier.lines:
                gain_s = batch_s * LOWER_TIER_PART / (1 - LOWER_TIER_PART)
                tier.owed_s = min(tier.owed_s + gain_s, 2 * max(mean_s, batch_s))
            is_lower = is_lower or tier is leader
