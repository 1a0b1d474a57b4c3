"""Requests that can share a batch, and which of them comes next: principals take turns, by what each has had."""

from __future__ import annotations

from bisect import insort
from collections import deque
from heapq import heapify, heappop, heappush, heapreplace

from torchgate.engine.fair_share import FairTime, Share
from torchgate.engine.waiting import ShapeKey, Waiting

Entry = tuple[float, int, int, "Turn"]
"""A turn in the order of its line: rank and last service of its principal, place of its head, itself."""

_INFINITE = float("inf")
_GONE_AT_MOST = 64
"""Members that wait no more, beyond twice the others, before they are cleared away: a storm of cancelled requests must
not grow what can't move."""


class Tier:
    """The principals of one priority in one queue."""

    def __init__(self) -> None:
        self.time = FairTime()
        self.lines: dict[ShapeKey, Line] = {}
        """Those in which somebody waits."""
        self.services = 0
        """How often anybody came or was served."""
        self.owed_s = 0.0
        """Time that higher tiers owe it, in seconds."""

    def serve(self, share: PrincipalShare) -> None:
        """It came, or is served: of those who have had the same, it is the last from now on."""
        self.services += 1
        share.served = self.services

    def leading_line(self) -> tuple[ShapeKey, Line]:
        """The line of whoever is next; somebody waits."""
        lines = self.lines
        if len(lines) == 1:
            return next(iter(lines.items()))
        return min(lines.items(), key=_precedence)


class PrincipalShare(Share):
    """One principal in the queue of one model version.

    Args:
        tier: that it stands in.
        weight: as Share says.
        roles: that gave it both.
    """

    __slots__ = ("roles", "served", "spare", "tier", "turns", "waiting")

    def __init__(self, tier: Tier, weight: float, roles: frozenset[str]) -> None:
        super().__init__(weight)
        self.tier = tier
        self.roles = roles
        self.served = 0
        """When it came or was served last, as its tier counts: of two who have had the same, the earlier is next."""
        self.waiting = 0
        """Requests of it in the queue."""
        self.turns: dict[ShapeKey, Turn] = {}
        self.spare: Turn | None = None
        """The turn that was empty last, to be used again: most callers ask, wait, and ask again."""

    def open_turn(self, waiting: Waiting, now: float) -> None:
        """The first request of a shape."""
        shape_key = waiting.shape_key
        lines = self.tier.lines
        line = lines.get(shape_key)
        if line is None:
            line = lines[shape_key] = Line(now)
        turn = self.spare
        if turn is None:
            turn = Turn(self)
        self.spare = None
        self.turns[shape_key] = turn
        turn.line = line
        line.turns += 1
        waiting.turn = turn
        turn.add(waiting)
        line.enter(turn)

    def close_turn(self, turn: Turn, shape_key: ShapeKey) -> None:
        """The last request of a shape has left."""
        line, turn.entry = turn.line, None
        turn.members.clear()
        self.spare = turn
        del self.turns[shape_key]
        line.turns -= 1
        if not line.turns:
            del self.tier.lines[shape_key]


class Turn:
    """One principal's waiting requests of one shape, in its own order; who was taken out is skipped when met."""

    __slots__ = ("alive", "entry", "line", "members", "share", "with_priority")

    def __init__(self, share: PrincipalShare) -> None:
        self.share = share
        self.line = _NOWHERE
        self.members: deque[Waiting] = deque()
        self.alive = 0
        self.with_priority = 0
        """Of its members those whose caller gave them a priority."""
        self.entry: Entry | None = None
        """Its valid entry in the line's heap."""

    def add(self, waiting: Waiting) -> None:
        """Put it where its caller wants it among its own."""
        self.alive += 1
        request = waiting.request
        self.line.rows += request.rows
        if request.priority:
            self.with_priority += 1
        if self.with_priority:
            insort(self.members, waiting, key=_own_order)
        else:
            self.members.append(waiting)

    def forget(self, waiting: Waiting) -> None:
        """It waits no more; its place in `members` goes when somebody comes by."""
        request = waiting.request
        self.alive -= 1
        self.line.rows -= request.rows
        if request.priority:
            self.with_priority -= 1
        if len(self.members) > 2 * self.alive + _GONE_AT_MOST:
            self.members = deque(one for one in self.members if one.is_queued)

    def head(self) -> Waiting:
        """The next; there is one."""
        members = self.members
        while not (head := members[0]).is_queued:
            members.popleft()
        return head

    def last(self) -> Waiting:
        """The one that would run last; there is one."""
        members = self.members
        while not members[-1].is_queued:
            members.pop()
        return members[-1]


class Line:
    """The turns of all principals of one tier that have requests of one shape.

    Args:
        since: when its first came.
    """

    __slots__ = ("_heap", "rows", "since", "turns")

    def __init__(self, since: float) -> None:
        self.since = since
        self.rows = 0
        self.turns = 0
        self._heap: list[Entry] = []

    def enter(self, turn: Turn) -> None:
        """A turn that is not empty any more, or has moved forward."""
        heap = self._heap
        share = turn.share
        turn.entry = entry = (share.rank, share.served, turn.head().place, turn)
        if not heap:
            heap.append(entry)
            return
        heappush(heap, entry)
        if len(heap) > 2 * self.turns + _GONE_AT_MOST:
            self._heap = [one for one in heap if one[3].entry is one]
            heapify(self._heap)

    def next(self) -> Turn | None:
        """Whose turn it is; None when nobody waits."""
        heap = self._heap
        while heap:
            entry = heap[0]
            turn = entry[3]
            share = turn.share
            if turn.entry is not entry:
                heappop(heap)
            elif entry[0] < share.rank:
                turn.entry = fresh = (share.rank, share.served, turn.head().place, turn)
                heapreplace(heap, fresh)
            else:
                return turn
        return None

    def second_rank(self) -> float:
        """Up to what rank the next one stays the next; maybe less."""
        heap = self._heap
        count = len(heap)
        if count == 1:
            return _INFINITE
        return heap[1][0] if count == 2 or heap[1][0] < heap[2][0] else heap[2][0]

    def set_aside(self) -> None:
        """The next one can't use what is left of this batch: look past it until it is entered again."""
        heappop(self._heap)[3].entry = None

    def precedence(self) -> tuple[float, int, int]:
        """Of its next turn, for a comparison with other lines."""
        turn = self.next()
        if turn is None or turn.entry is None:
            return (_INFINITE, 0, 0)
        return turn.entry[:3]


_NOWHERE = Line(0.0)


def _own_order(waiting: Waiting) -> tuple[float, int]:
    """1 is the highest priority, and none comes after all; within one, first come first."""
    return (waiting.request.priority or _INFINITE, waiting.place)


def _precedence(item: tuple[ShapeKey, Line]) -> tuple[float, int, int]:
    return item[1].precedence()
