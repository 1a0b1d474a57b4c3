"""Windows in time: by the clock on a wall, over midnight, and where that clock jumps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchgate.access.policy.time_window import DAYS, EDGE_GRID_S, TimeWindow, make_window

BERLIN = "Europe/Berlin"


def window(
    hours: str | None = None,
    days: str | None = None,
    zone: str | None = BERLIN,
    valid_from: str | None = None,
    valid_until: str | None = None,
) -> TimeWindow:
    found = make_window(
        None if days is None else days.split(), None if hours is None else hours.split(), zone, valid_from, valid_until
    )
    assert found is not None
    return found


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


OFFICE = window("08:00-18:00", "mon tue wed thu fri")
NIGHT = window("22:00-06:00", "fri")


@pytest.mark.parametrize(
    ("when", "moment", "is_open"),
    [
        (OFFICE, "2026-03-02T08:00:00+01:00", True),  # a Monday
        (OFFICE, "2026-03-02T07:59:59.999999+01:00", False),
        (OFFICE, "2026-03-02T17:59:59.999999+01:00", True),
        (OFFICE, "2026-03-02T18:00:00+01:00", False),
        (OFFICE, "2026-02-28T12:00:00+01:00", False),  # a Saturday
        (OFFICE, "2026-03-30T06:00:00+00:00", True),  # 08:00 of summer time
        (OFFICE, "2026-03-27T06:30:00+00:00", False),  # 07:30 of winter time
        (NIGHT, "2026-03-06T22:00:00+01:00", True),  # Friday
        (NIGHT, "2026-03-07T05:59:59+01:00", True),  # Saturday, of Friday's window
        (NIGHT, "2026-03-07T06:00:00+01:00", False),
        (NIGHT, "2026-03-07T22:30:00+01:00", False),
        (NIGHT, "2026-03-06T05:00:00+01:00", False),  # Friday morning belongs to Thursday
        (window("22:00-06:00", "sun"), "2026-03-09T03:00:00+01:00", True),  # over the end of the week
        (window("08:00-12:00 13:00-17:00"), "2026-03-02T12:30:00+01:00", False),
        (window("08:00-12:00 13:00-17:00"), "2026-03-02T13:00:00+01:00", True),
        (window("00:00-24:00", "tue"), "2026-03-02T23:59:59+01:00", False),
        (window("00:00-24:00", "tue"), "2026-03-03T00:00:00+01:00", True),
        (window("00:00-24:00", "tue"), "2026-03-03T23:59:59+01:00", True),
    ],
)
def test_open_or_not(when: TimeWindow, moment: str, is_open: bool) -> None:
    assert when.is_open(at(moment)) is is_open


@pytest.mark.parametrize(
    ("hours", "moment", "is_open"),
    [
        # 2026-03-29: the clock goes from 02:00 to 03:00, which is 01:00 UTC.
        ("02:00-03:00", "2026-03-29T00:59:59+00:00", False),
        ("02:00-03:00", "2026-03-29T01:00:00+00:00", False),
        ("01:30-03:30", "2026-03-29T00:45:00+00:00", True),
        ("01:30-03:30", "2026-03-29T01:15:00+00:00", True),
        ("01:30-03:30", "2026-03-29T01:30:00+00:00", False),
        # 2026-10-25: it goes from 03:00 back to 02:00, which is 01:00 UTC, so that 02:30 comes twice.
        ("02:00-02:30", "2026-10-25T00:15:00+00:00", True),
        ("02:00-02:30", "2026-10-25T00:45:00+00:00", False),
        ("02:00-02:30", "2026-10-25T01:15:00+00:00", True),
        ("02:00-02:30", "2026-10-25T01:30:00+00:00", False),
        ("23:00-02:30", "2026-10-25T01:29:00+00:00", True),
    ],
)
def test_the_clock_on_the_wall_decides_where_it_jumps(hours: str, moment: str, is_open: bool) -> None:
    assert window(hours).is_open(at(moment)) is is_open


@pytest.mark.parametrize(
    ("valid_from", "valid_until", "first", "last"),
    [
        ("2026-01-01", "2026-01-31", "2026-01-01T00:00:00+01:00", "2026-01-31T23:59:59.999+01:00"),
        ("2026-03-29", "2026-03-29", "2026-03-29T00:00:00+01:00", "2026-03-29T23:59:59.999+02:00"),
        ("2026-01-01T08:00:00Z", "2026-01-01T09:00:00Z", "2026-01-01T08:00:00+00:00", "2026-01-01T08:59:59.999+00:00"),
        ("2026-07-01T08:00:00", None, "2026-07-01T08:00:00+02:00", "2999-01-01T00:00:00+00:00"),
    ],
)
def test_dates_are_whole_days_of_the_zone_and_moments_are_exact(
    valid_from: str, valid_until: str | None, first: str, last: str
) -> None:
    found = window(valid_from=valid_from, valid_until=valid_until)
    assert found.is_open(at(first))
    assert found.is_open(at(last))
    assert not found.is_open(at(first) - 0.001)
    if valid_until is not None:
        assert not found.is_open(at(last) + 0.002)


def test_moments_with_an_offset_need_no_zone() -> None:
    found = window(zone=None, valid_from="2026-01-01T00:00:00Z")
    assert found.is_open(at("2026-01-01T00:00:00+00:00"))
    assert not found.is_open(at("2025-12-31T23:59:59+00:00"))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((["mon"], None, None, None, None), "time_zone is missing"),
        ((None, ["08:00-18:00"], None, None, None), "time_zone is missing"),
        ((None, None, None, "2026-01-01", None), "time_zone is missing"),
        ((None, None, None, None, "2026-01-01T00:00:00"), "time_zone is missing"),
        ((None, None, BERLIN, None, None), "nothing that needs it"),
        ((["monday"], None, BERLIN, None, None), "'monday' is not a day"),
        ((["Mon"], None, BERLIN, None, None), "is not a day"),
        ((None, ["8-18"], BERLIN, None, None), "not a span of hours"),
        ((None, ["08:00-25:00"], BERLIN, None, None), "not a span of hours"),
        ((None, ["24:00-08:00"], BERLIN, None, None), "not a span of hours"),
        ((None, ["08:00-18:00\n"], BERLIN, None, None), "not a span of hours"),
        ((None, ["08:00-08:00"], BERLIN, None, None), "is empty"),
        ((["mon"], None, "Europe/Belrin", None, None), "no time zone that this machine knows"),
        ((["mon"], None, "../../etc/passwd", None, None), "no time zone that this machine knows"),
        ((["mon"], None, "", None, None), "no time zone that this machine knows"),
        ((None, None, BERLIN, "2026-02-30", None), "no date and no time"),
        ((None, None, BERLIN, "soon", None), "no date and no time"),
        ((None, None, BERLIN, None, "9999-12-31"), "no date and no time"),
        ((None, None, BERLIN, "2026-02-02", "2026-02-01"), "is not after"),
        ((None, None, None, "2026-02-02T00:00:00Z", "2026-02-02T00:00:00Z"), "is not after"),
    ],
)
def test_what_is_no_window_is_a_mistake_with_a_remedy(
    arguments: tuple[list[str] | None, list[str] | None, str | None, str | None, str | None], word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        make_window(*arguments)


def test_without_any_word_of_time_there_is_no_window() -> None:
    assert make_window(None, None, None, None, None) is None


NOW = at("2026-03-02T12:00:00+01:00")  # a Monday


@pytest.mark.parametrize(
    ("found", "opens"),
    [
        (OFFICE, True),
        (window(valid_until="2026-03-01"), False),
        (window(valid_until="2026-03-02"), True),
        (window(days="sat", valid_from="2026-03-02", valid_until="2026-03-06"), False),
        (window(days="sat", valid_from="2026-03-02", valid_until="2026-03-07"), True),
        (window("08:00-10:00", "mon", valid_until="2026-03-02"), False),
        (window("02:10-02:50", valid_from="2026-03-29", valid_until="2026-03-29"), False),
    ],
)
def test_a_window_that_never_opens_again_is_known(found: TimeWindow, opens: bool) -> None:
    assert found.ever_opens(NOW) is opens


ZONES = st.sampled_from(
    ["UTC", BERLIN, "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Havana"]
)
MINUTES = st.integers(0, 1439)
MOMENTS = st.integers(0, 3 * 366 * 1440 - 1).map(lambda minute: at("2025-01-01T00:00:00+00:00") + minute * 60)


@given(ZONES, st.sets(st.integers(0, 6), min_size=1), MINUTES, MINUTES, MOMENTS, st.integers(0, 59_999))
def test_between_whole_minutes_nothing_opens_and_nothing_closes(
    zone: str, days: set[int], start: int, end: int, minute_at: float, later_ms: int
) -> None:
    """What a remembered decision relies on: it holds until the next whole minute."""
    found = TimeWindow(frozenset(days), ((start, end if end != start else 1440),), ZoneInfo(zone))
    assert EDGE_GRID_S == 60.0
    assert found.is_open(minute_at) is found.is_open(minute_at + later_ms / 1000)


@given(ZONES, st.sets(st.integers(0, 6), min_size=1), MINUTES, MINUTES, MOMENTS)
def test_windows_agree_with_a_list_of_all_minutes_on_the_wall(
    zone: str, days: set[int], start: int, end: int, moment: float
) -> None:
    """A second reading: walk the minutes of the window from the day on which it begins."""
    end = end if end != start else 1440
    length = end - start if end > start else end + 1440 - start
    local = datetime.fromtimestamp(moment, UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    begins = [
        local.replace(hour=0, minute=0) - timedelta(days=back) + timedelta(minutes=start)
        for back in (0, 1)
        if (local - timedelta(days=back)).weekday() in days
    ]
    expected = any(begin <= local < begin + timedelta(minutes=length) for begin in begins)
    assert TimeWindow(frozenset(days), ((start, end),), ZoneInfo(zone)).is_open(moment) is expected


def test_days_are_in_the_order_of_python() -> None:
    assert DAYS[datetime(2026, 3, 2, tzinfo=UTC).weekday()] == "mon"
