"""One batch while it is filled."""

from __future__ import annotations

from collections.abc import Callable

from torchgate.engine.turns import Line, Turn
from torchgate.engine.waiting import Waiting

_ASIDE_AT_MOST = 16
"""Turns that are looked past because their next request is too large for what is left of a batch."""


class Filling:
    """Takes requests out of lines in fair order, as long as they fit.

    Args:
        max_rows: of the batch.
        row_s: what a row takes, estimated, in seconds.
        now: on the monotonic clock.
        remove: takes out one that is too late.
    """

    __slots__ = ("_max_rows", "_now", "_remove", "_row_s", "batch", "expired", "rows")

    def __init__(self, max_rows: int, row_s: float, now: float, remove: Callable[[Waiting], None]) -> None:
        self._max_rows = max_rows
        self._row_s = row_s
        self._now = now
        self._remove = remove
        self.batch: list[Waiting] = []
        self.expired: list[Waiting] = []
        """Met on the way; their deadline has passed."""
        self.rows = 0

    def add_from(self, line: Line) -> None:
        """Add what fits, whose turn it is first. The first of all leads: newcomers stand beside it from now on."""
        aside: list[Turn] = []
        while self.rows < self._max_rows and (turn := line.next()) is not None:
            head = turn.head()
            if head.request.deadline_at <= self._now:
                self.expired.append(head)
                self._remove(head)
            elif self.rows + head.request.rows <= self._max_rows:
                if not self.batch:
                    turn.share.tier.time.lead(turn.share)
                self._take_turn(turn)
            elif len(aside) < _ASIDE_AT_MOST:
                line.set_aside()
                aside.append(turn)
            else:
                break
        for turn in aside:
            line.enter(turn)

    def _take_turn(self, turn: Turn) -> None:
        """Take requests of one turn, the first of which fits, until it is another's."""
        share, line, members, batch = turn.share, turn.line, turn.members, self.batch
        rank, weight, until = share.rank, share.weight, line.second_rank()
        rows, taken = self.rows, 0
        while members and (rank < until or not taken):
            head = members[0]
            request = head.request
            if head.is_queued:
                if request.deadline_at <= self._now or rows + request.rows > self._max_rows:
                    break
                head.is_queued = False
                head.cost_s = cost_s = self._row_s * request.rows
                if request.priority:
                    turn.with_priority -= 1
                rank += cost_s / weight
                rows += request.rows
                taken += 1
                batch.append(head)
            members.popleft()
        share.rank = rank
        share.tier.serve(share)
        share.runs += taken
        share.waiting -= taken
        turn.alive -= taken
        line.rows -= rows - self.rows
        self.rows = rows
        if not turn.alive:
            share.close_turn(turn, batch[-1].shape_key)
