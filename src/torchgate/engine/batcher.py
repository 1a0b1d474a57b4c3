"""From waiting requests to batches: pure, and told the time.

Principals take turns by what each has had of the workers' time, weighed by its roles (fair_share), each with its own
requests in its own order (turns); a higher tier before a lower one (tiers). The next batch is led by whoever is next,
and filled with what can share it, in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

from torchgate.contract.principal import Principal
from torchgate.engine.filling import Filling
from torchgate.engine.ratings import Ratings
from torchgate.engine.tiers import Tiers
from torchgate.engine.turns import PrincipalShare
from torchgate.engine.waiting import Waiting

_FIRST_GUESS_S = 0.001
"""What a row takes, before any was measured."""

_MEAN_WEIGHT = 0.1
"""Of the newest batch in the running means: the last ten or so count."""

_IDLE_AT_MOST = 64
"""Shares of principals that have nothing here now, before those that remember nothing are cleared away."""


class Batcher:
    """The queue of one model version.

    Args:
        max_batch_size: rows; 0: each request alone.
        max_batch_delay_s: how long the head may wait for company that is on its way.
        ratings: of principals.
    """

    def __init__(self, max_batch_size: int, max_batch_delay_s: float, ratings: Ratings | None = None) -> None:
        self._max_rows = max_batch_size or 1
        self._is_batching = max_batch_size > 1
        self._max_delay_s = max_batch_delay_s
        self._ratings = ratings or Ratings()
        self._tiers = Tiers()
        self._shares: dict[str, PrincipalShare] = {}
        self._sweep_at = _IDLE_AT_MOST
        self._row_s = _FIRST_GUESS_S
        self._batch_s = 0.0
        self._next_place = 0
        self.requests = 0
        """Requests that wait."""

    def add(self, waiting: Waiting, now: float) -> None:
        """Put it at the end of its principal's own.

        Raises:
            ValueError: it has no row, or more than any batch may have.
        """
        request = waiting.request
        if not 1 <= request.rows <= self._max_rows:
            raise ValueError(f"{request.rows} rows; a batch has 1 to {self._max_rows}")
        principal = request.principal
        share = self._shares.get(principal.key)
        if share is None or not (share.waiting or share.runs):
            share = self._enter(share, principal)
        waiting.place = self._next_place
        self._next_place += 1
        waiting.is_queued = True
        share.waiting += 1
        self.requests += 1
        turn = share.turns.get(waiting.shape_key)
        if turn is None:
            share.open_turn(waiting, now)
        else:
            waiting.turn = turn
            turn.add(waiting)

    def remove(self, waiting: Waiting) -> None:
        """Take it out, if it still waits."""
        if waiting.is_queued:
            share = self._take_out(waiting)
            if not share.waiting and not share.runs:
                share.tier.time.leave(share)

    def take(self, now: float) -> tuple[list[Waiting], list[Waiting]]:
        """The next batch, and those met on the way whose deadline has passed; all of them wait no more.

        A batch may be empty although somebody waited: all were too late. `settle` must be told of each that was taken.
        """
        expired: list[Waiting] = []
        while self.requests:
            leader, paid_s = self._tiers.leader(self._batch_s)
            shape_key, line = leader.leading_line()
            filling = Filling(self._max_rows, self._row_s, now, self.remove)
            filling.add_from(line)
            batch = filling.batch
            if not batch:
                expired += filling.expired
                continue
            for tier in self._tiers.beside(leader):
                if (beside := tier.lines.get(shape_key)) is not None:
                    filling.add_from(beside)
            self.requests -= len(batch)
            leader.owed_s -= paid_s
            batch[0].paid_s = paid_s
            return batch, expired + filling.expired
        return [], expired

    def settle(self, batch: Sequence[Waiting], used_s: float) -> None:
        """A batch is over, and this is what it used: each request is charged its rows' part of it.

        Args:
            used_s: measured, in seconds; 0 where nothing ran.
        """
        row_s = used_s / sum([waiting.request.rows for waiting in batch])
        if used_s > 0:
            weight = _MEAN_WEIGHT if self._batch_s else 1.0
            self._row_s += (row_s - self._row_s) * weight
            self._batch_s += (used_s - self._batch_s) * weight
            leader = batch[0]
            if leader.turn is not None:
                self._tiers.ran(leader.turn.share.tier, used_s, self._batch_s, leader.paid_s)
        for waiting in batch:
            self.charge(waiting, row_s * waiting.request.rows)

    def charge(self, waiting: Waiting, used_s: float) -> None:
        """One request that was taken for a batch is over, and this is what it used. Once for each."""
        turn = waiting.turn
        if turn is None:
            return
        share = turn.share
        share.end(waiting.cost_s, used_s)
        if not share.waiting:
            if not share.runs:
                share.tier.time.leave(share)
        elif used_s < waiting.cost_s:
            for own in share.turns.values():
                own.line.enter(own)  # it is further ahead than its place shows

    def due_at(self, *, company_is_coming: bool) -> float | None:
        """When the next batch should leave: 0.0 is at once, None is that nobody waits."""
        if not self.requests:
            return None
        if not company_is_coming or not self._is_batching:
            return 0.0
        leader, _ = self._tiers.leader(self._batch_s)
        _, line = leader.leading_line()
        return 0.0 if line.rows >= self._max_rows else line.since + self._max_delay_s

    def drain(self) -> list[Waiting]:
        """Everybody, in the order in which they came; nobody waits afterwards."""
        turns = [turn for share in self._shares.values() for turn in share.turns.values()]
        everybody = [one for turn in turns for one in turn.members if one.is_queued]
        for one in everybody:
            self.remove(one)
        return sorted(everybody, key=lambda one: one.place)

    def would_crowd(self, principal: Principal) -> bool:
        """Whether one more request of this principal would make it hold most of the queue, for its weight.

        Then there is nobody whose request could give way to it.
        """
        share = self._shares.get(principal.key)
        if share is None or not (share.waiting or share.runs):
            weight, waiting = self._ratings.of(principal).weight, 1
        else:
            weight, waiting = share.weight, share.waiting + 1
        crowding = self._crowding()
        return crowding is None or crowding.waiting / crowding.weight <= waiting / weight

    def push_out(self) -> Waiting | None:
        """Take out the last request of whoever holds most of the queue, for its weight."""
        crowding = self._crowding()
        if crowding is None:
            return None
        last = max([turn.last() for turn in crowding.turns.values()], key=lambda one: one.place)
        self.remove(last)
        return last

    def _crowding(self) -> PrincipalShare | None:
        waiting = [share for share in self._shares.values() if share.waiting]
        return max(waiting, key=lambda share: share.waiting / share.weight, default=None)

    def _enter(self, share: PrincipalShare | None, principal: Principal) -> PrincipalShare:
        """The share of a principal that had nothing here."""
        if share is None or share.roles is not principal.roles:
            share = self._rated(share, principal)
        tier = share.tier
        tier.time.enter(share)
        tier.serve(share)
        return share

    def _rated(self, share: PrincipalShare | None, principal: Principal) -> PrincipalShare:
        """A share as the principal's roles are worth now."""
        rating = self._ratings.of(principal)
        tier = self._tiers.of(rating.priority)
        if share is None or share.tier is not tier:
            if len(self._shares) >= self._sweep_at:
                self._sweep()
            share = self._shares[principal.key] = PrincipalShare(tier, rating.weight, principal.roles)
        share.weight, share.roles = rating.weight, principal.roles
        return share

    def _take_out(self, waiting: Waiting) -> PrincipalShare:
        waiting.is_queued = False
        turn = waiting.turn
        if turn is None:
            raise RuntimeError("a request without a turn. This is a bug.")
        share = turn.share
        self.requests -= 1
        share.waiting -= 1
        turn.forget(waiting)
        if not turn.alive:
            share.close_turn(turn, waiting.shape_key)
        return share

    def _sweep(self) -> None:
        """Forget those who have nothing here and owe nothing."""
        kept = {
            key: share
            for key, share in self._shares.items()
            if share.waiting or share.runs or share.had > share.tier.time.now
        }
        self._shares = kept
        self._sweep_at = 2 * len(kept) + _IDLE_AT_MOST
