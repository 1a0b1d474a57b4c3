"""Who is refused for a while, because it ended what ran it again and again: pure, and told the time.

closed ──(so many offences within the window)──→ open ──(its pause is over)──→ half-open
↑                                                ↑                               │ one request, alone
└───────────(it was harmless)────────────────────┼───────────────────────────────┤
└──(it offended: a longer pause)┘
"""

from __future__ import annotations

from collections import deque
from enum import Enum

MAX_RECORDS = 1024
"""Principals that are remembered at most; beyond them the one whose last offence is oldest is forgotten, and one that
is refused only where all are."""

LONGEST_PAUSE_S = 600.0
"""However often a trial has failed: whoever has mended its input should not wait for hours."""


class Entry(Enum):
    """What a request of a principal may do now."""

    FREE = "free"
    ALONE = "alone"  # half-open, and nobody tries yet: this one may, where it can hurt nobody
    REFUSED = "refused"


class Breaker:
    """One circuit for each principal that has offended, on one model version.

    Args:
        offences: that open a circuit; 0: none ever opens.
        window_s: within which they are counted, in seconds.
        pause_s: how long nothing is let in, in seconds; after each trial that offends twice as long.
    """

    def __init__(self, offences: int, window_s: float, pause_s: float) -> None:
        self._limit = offences
        self._window_s = window_s
        self._pause_s = pause_s
        self._records: dict[str, _Record] = {}
        self.open = 0
        """Circuits that are not closed."""

    def entry(self, key: str, now: float) -> Entry:
        """What a request may do; asking changes nothing."""
        record = self._records.get(key)
        if record is None or record.refused_until is None:
            return Entry.FREE
        return Entry.REFUSED if record.is_on_trial or now < record.refused_until else Entry.ALONE

    def wait_s(self, key: str, now: float) -> float:
        """Seconds until its next request may be let in, at least; 0 where it may be now, or where a trial is on."""
        record = self._records.get(key)
        if record is None or record.refused_until is None:
            return 0.0
        return max(0.0, record.refused_until - now)

    def has_offended(self, key: str, now: float) -> bool:
        """Whether an offence of it is remembered."""
        record = self._records.get(key)
        return record is not None and (record.refused_until is not None or record.counted(now - self._window_s) > 0)

    def try_one(self, key: str) -> None:
        """A request that `entry` called ALONE is let in; until it has ended all others are refused."""
        self._records[key].is_on_trial = True

    def offended(self, key: str, now: float, *, on_trial: bool = False) -> bool:
        """It was proven to have ended what ran it; True where this opens its circuit.

        Args:
            on_trial: by the request that was let in alone; what was under way before proves nothing new.
        """
        if not self._limit:
            return False
        record = self._records.pop(key, None) or _Record()
        self._records[key] = record  # the newest is last
        if record.refused_until is not None:
            if on_trial:
                record.is_on_trial = False
                self._refuse(record, now)
            return False
        record.offences.append(now)
        self._make_room(key, now)
        if record.counted(now - self._window_s) < self._limit:
            return False
        record.offences.clear()
        self.open += 1
        self._refuse(record, now)
        return True

    def proved_harmless(self, key: str) -> None:
        """The request on trial ran to its end: the circuit is closed, and nothing is held against it."""
        if self._records.pop(key, None) is not None:
            self.open -= 1

    def proved_nothing(self, key: str) -> None:
        """The request on trial did not run: another may try."""
        record = self._records.get(key)
        if record is not None:
            record.is_on_trial = False

    def _refuse(self, record: _Record, now: float) -> None:
        pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2.0 ** min(record.refusals, 20))
        record.refusals += 1
        record.refused_until = now + max(pause_s, self._pause_s)

    def _make_room(self, newest: str, now: float) -> None:
        """Forget whose window is over, and where that is not enough the oldest, but nobody who is on trial."""
        if len(self._records) <= MAX_RECORDS:
            return
        since = now - self._window_s
        for key in [key for key, record in self._records.items() if record.is_forgivable(since)]:
            del self._records[key]
        while len(self._records) > MAX_RECORDS:
            others = [(key, record) for key, record in self._records.items() if key != newest]
            closed = next((key for key, record in others if record.refused_until is None), None)
            oldest = closed or next(key for key, record in others if not record.is_on_trial)
            self.open -= self._records.pop(oldest).refused_until is not None


class _Record:
    """One principal's circuit."""

    __slots__ = ("is_on_trial", "offences", "refusals", "refused_until")

    def __init__(self) -> None:
        self.offences: deque[float] = deque()
        self.refused_until: float | None = None
        self.is_on_trial = False
        self.refusals = 0

    def counted(self, since: float) -> int:
        """Offences that are not older."""
        while self.offences and self.offences[0] < since:
            self.offences.popleft()
        return len(self.offences)

    def is_forgivable(self, since: float) -> bool:
        return self.refused_until is None and not self.counted(since)
