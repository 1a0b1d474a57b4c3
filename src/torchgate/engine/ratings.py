"""What a principal's roles are worth in a queue: weight and priority."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from torchgate.contract.principal import Principal
from torchgate.engine.settings import ShareSettings


class Rating(msgspec.Struct, frozen=True):
    """Of one principal; without any role that says otherwise, everybody's is the same."""

    weight: float = 1.0
    priority: int = 0


EVERYBODY = Rating()


class Ratings:
    """`[[shares]]`, ready to be asked.

    Args:
        shares: each role at most once.
    """

    def __init__(self, shares: Iterable[ShareSettings] = ()) -> None:
        self._by_role = {share.role: Rating(share.weight, share.priority) for share in shares}

    def of(self, principal: Principal) -> Rating:
        """The best of its roles: the highest priority, and of those roles the greatest weight."""
        by_role = self._by_role
        if not by_role:
            return EVERYBODY
        found = [by_role[role] for role in principal.roles if role in by_role]
        return max(found, key=lambda one: (one.priority, one.weight), default=EVERYBODY)
