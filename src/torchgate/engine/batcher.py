"""From waiting requests to batches: pure, and told the time.

Requests of one shape stand in one line, in the order in which they came. A batch is the line whose head has waited
longest, from its head on, as long as rows fit. Fair sharing between principals has its place in `_Line`: it alone
decides who comes next.
"""

from __future__ import annotations

from collections import deque

from torchgate.engine.waiting import ShapeKey, Waiting

_GONE_AT_MOST = 64
"""Members of a line that wait no more, beyond twice the others, before they are cleared away: a storm of cancelled
requests must not grow a line whose head can't move."""


class Batcher:
    """The queue of one model version.

    Args:
        max_batch_size: rows; 0: each request alone.
        max_batch_delay_s: how long the head may wait for company that is on its way.
    """

    def __init__(self, max_batch_size: int, max_batch_delay_s: float) -> None:
        self._max_rows = max_batch_size or 1
        self._is_batching = max_batch_size > 1
        self._max_delay_s = max_batch_delay_s
        self._lines: dict[ShapeKey, _Line] = {}
        self._next_place = 0
        self.requests = 0
        """Requests that wait."""

    def add(self, waiting: Waiting, now: float) -> None:
        """Put it at the end of its line.

        Raises:
            ValueError: it has no row, or more than any batch may have.
        """
        if not 1 <= waiting.request.rows <= self._max_rows:
            raise ValueError(f"{waiting.request.rows} rows; a batch has 1 to {self._max_rows}")
        waiting.place, self._next_place = self._next_place, self._next_place + 1
        waiting.place_at = now
        waiting.is_queued = True
        line = self._lines.get(waiting.shape_key)
        if line is None:
            line = self._lines[waiting.shape_key] = _Line()
        line.add(waiting)
        self.requests += 1

    def remove(self, waiting: Waiting) -> None:
        """Take it out, if it still waits."""
        if waiting.is_queued:
            waiting.is_queued = False
            self.requests -= 1
            line = self._lines[waiting.shape_key]
            line.forget(waiting)
            if not line.rows:
                del self._lines[waiting.shape_key]

    def take(self, now: float) -> tuple[list[Waiting], list[Waiting]]:
        """The next batch, and those met on the way whose deadline has passed; all of them wait no more.

        A batch may be empty although somebody waited: all were too late.
        """
        expired: list[Waiting] = []
        while self._lines:
            line = self._oldest_line()
            batch = self._take_from(line, now, expired)
            if batch:
                return batch, expired
        return [], expired

    def due_at(self, *, company_is_coming: bool) -> float | None:
        """When the next batch should leave: 0.0 is at once, None is that nobody waits."""
        if not self.requests:
            return None
        if not company_is_coming or not self._is_batching:
            return 0.0
        line = self._oldest_line()
        head = line.head()
        if line.rows >= self._max_rows or head is None:
            return 0.0
        return head.place_at + self._max_delay_s

    def drain(self) -> list[Waiting]:
        """Everybody, in the order in which they came; nobody waits afterwards."""
        everybody = [one for line in self._lines.values() for one in line.members if one.is_queued]
        for one in everybody:
            self.remove(one)
        return sorted(everybody, key=lambda one: one.place)

    def _oldest_line(self) -> _Line:
        if len(self._lines) == 1:
            return next(iter(self._lines.values()))
        return min(self._lines.values(), key=_Line.head_place)

    def _take_from(self, line: _Line, now: float, expired: list[Waiting]) -> list[Waiting]:
        batch: list[Waiting] = []
        rows = 0
        while (head := line.head()) is not None:
            request = head.request
            if request.deadline_at <= now:
                expired.append(head)
            elif rows + request.rows > self._max_rows:
                break
            else:
                batch.append(head)
                rows += request.rows
            line.members.popleft()
            self.remove(head)
        return batch


class _Line:
    """Requests that can share a batch, by place; those that were taken out are skipped when they are met."""

    __slots__ = ("_alive", "_with_priority", "members", "rows")

    def __init__(self) -> None:
        self.members: deque[Waiting] = deque()
        self.rows = 0
        self._alive = 0
        self._with_priority = 0

    def add(self, waiting: Waiting) -> None:
        self.members.append(waiting)
        self.rows += waiting.request.rows
        self._alive += 1
        self._with_priority += waiting.request.priority != 0
        if self._with_priority:
            self._order_own(waiting.request.principal.key)

    def forget(self, waiting: Waiting) -> None:
        """It waits no more; its place in `members` goes when somebody comes by."""
        self.rows -= waiting.request.rows
        self._alive -= 1
        self._with_priority -= waiting.request.priority != 0
        if len(self.members) > 2 * self._alive + _GONE_AT_MOST:
            self.members = deque(one for one in self.members if one.is_queued)

    def head(self) -> Waiting | None:
        members = self.members
        while members:
            if members[0].is_queued:
                return members[0]
            members.popleft()
        return None

    def head_place(self) -> int:
        head = self.head()
        return head.place if head is not None else -1

    def _order_own(self, key: str) -> None:
        """Sort one principal's requests among the places that it has: nobody else moves forward or back."""
        members = self.members
        spots = [index for index, one in enumerate(members) if one.is_queued and one.request.principal.key == key]
        places = [(members[index].place, members[index].place_at) for index in spots]
        own = sorted((members[index] for index in spots), key=_rank)
        for index, one, (place, place_at) in zip(spots, own, places, strict=True):
            members[index] = one
            one.place, one.place_at = place, place_at


def _rank(waiting: Waiting) -> tuple[float, float]:
    """1 is the highest priority, and none comes after all; within one, first come first."""
    return (waiting.request.priority or float("inf"), waiting.accepted_at)
