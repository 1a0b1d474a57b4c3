"""When a rule counts: days and hours by the clock on a wall of a named time zone, and from one moment until another.

The wall clock decides alone: an hour that the clock skips in spring is no hour of any window, and one that it shows
twice in autumn is in the window twice. A window over midnight belongs to the day on which it begins.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EDGE_GRID_S = 60.0
"""Days and hours begin and end on whole minutes of Unix time: hours are written in minutes, and since 1972 every
zone's offset is one of whole minutes (source: the tz database; Liberia was the last)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_HOURS = re.compile(f"{_CLOCK}-(?:{_CLOCK}|24:00)")
_MINUTES_OF_DAY = 1440
_LONG_S = 8 * 86_400.0
"""A span in which every day of the week comes whole, at least once."""


class TimeWindow(msgspec.Struct, frozen=True):
    """A window in time.

    Args:
        days: 0 is Monday; all seven where none are named.
        hours: minutes after midnight, from and until (which is outside); until is not after from: it ends on the
            next day.
        zone: of the clock on the wall; None where there are no days and hours.
        opens_at, closes_at: Unix seconds; closes_at is outside.
    """

    days: frozenset[int] = frozenset(range(7))
    hours: tuple[tuple[int, int], ...] = ((0, _MINUTES_OF_DAY),)
    zone: ZoneInfo | None = None
    opens_at: float = -math.inf
    closes_at: float = math.inf

    def is_open(self, at: float) -> bool:
        """Whether it is open at a moment (Unix seconds)."""
        if not self.opens_at <= at < self.closes_at:
            return False
        if self.zone is None:
            return True
        # Not fromtimestamp, which on Windows takes no moment that its C library does not.
        local = (_EPOCH + timedelta(seconds=at)).astimezone(self.zone)
        today, minute = local.weekday(), local.hour * 60 + local.minute
        return any(self._is_in(today, minute, start, end) for start, end in self.hours)

    def ever_opens(self, now: float) -> bool:
        """Whether it is open at some moment from now on."""
        start, end = max(now, self.opens_at), self.closes_at
        if start >= end:
            return False
        if self.zone is None or end - start > _LONG_S:
            return True
        first = math.floor(start / EDGE_GRID_S)
        moments = (max(start, place * EDGE_GRID_S) for place in range(first, math.ceil(end / EDGE_GRID_S)))
        return any(self.is_open(moment) for moment in moments)

    def _is_in(self, today: int, minute: int, start: int, end: int) -> bool:
        if start < end:
            return today in self.days and start <= minute < end
        return (today in self.days and minute >= start) or ((today - 1) % 7 in self.days and minute < end)


def make_window(
    days: Sequence[str] | None,
    hours: Sequence[str] | None,
    time_zone: str | None,
    valid_from: str | None,
    valid_until: str | None,
) -> TimeWindow | None:
    """The window of one rule's settings; None where it counts always.

    Args:
        valid_from, valid_until: a date (from its beginning, until its end) or a date and time.

    Raises:
        ValueError: there is no such window; the sentence says why.
    """
    if days is None and hours is None and valid_from is None and valid_until is None:
        if time_zone is not None:
            raise ValueError("time_zone is there and nothing that needs it; add days, hours or dates, or take it out")
        return None
    zone = None if time_zone is None else read_zone(time_zone)
    if zone is None and (days is not None or hours is not None):
        raise ValueError('time_zone is missing; days and hours need one, e.g. "Europe/Berlin" or "UTC"')
    opens_at = -math.inf if valid_from is None else _moment("valid_from", valid_from, zone, days_later=0)
    closes_at = math.inf if valid_until is None else _moment("valid_until", valid_until, zone, days_later=1)
    if opens_at >= closes_at:
        raise ValueError(f"valid_until ({valid_until}) is not after valid_from ({valid_from})")
    if days is None and hours is None:
        return TimeWindow(opens_at=opens_at, closes_at=closes_at)
    return TimeWindow(
        frozenset(range(7)) if days is None else frozenset(map(_day, days)),
        ((0, _MINUTES_OF_DAY),) if hours is None else tuple(map(_hours, hours)),
        zone,
        opens_at,
        closes_at,
    )


def read_zone(name: str) -> ZoneInfo:
    """The time zone of a name of the tz database.

    Raises:
        ValueError: this machine knows none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is no time zone that this machine knows; write one like Europe/Berlin or UTC "
            "(names come from the system, or from the package tzdata)"
        ) from None


def _day(text: str) -> int:
    if text not in DAYS:
        raise ValueError(f"{text!r} is not a day; write {', '.join(DAYS)}")
    return DAYS.index(text)


def _hours(text: str) -> tuple[int, int]:
    if not _HOURS.fullmatch(text):
        raise ValueError(f'{text!r} is not a span of hours; write "08:00-18:00", or "22:00-06:00" over midnight')
    start, end = (int(part[:2]) * 60 + int(part[3:]) for part in text.split("-"))
    if start == end:
        raise ValueError(f'{text!r} is empty; the whole day is "00:00-24:00"')
    return start, end


def _moment(name: str, text: str, zone: ZoneInfo | None, *, days_later: int) -> float:
    """Unix seconds; of a date its beginning, or the beginning of a later day."""
    try:
        moment = _of_date(text, days_later) if len(text) == len("2026-01-31") else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{name} {text!r} is no date and no time; write 2026-01-31 or 2026-01-31T18:00:00+01:00"
        ) from None
    if moment.tzinfo is None:
        if zone is None:
            raise ValueError(f"time_zone is missing; {name} {text} could be a moment of any, so name one")
        moment = moment.replace(tzinfo=zone)
    return (moment - _EPOCH).total_seconds()


def _of_date(text: str, days_later: int) -> datetime:
    return datetime.combine(date.fromisoformat(text) + timedelta(days=days_later), time())
