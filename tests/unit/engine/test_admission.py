"""Room for requests, in bytes and in places of the queue."""

from __future__ import annotations

import contextlib

import pytest

from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import BodyTooLarge, Overloaded
from torchgate.engine.admission import Room, retry_after_s


def now() -> float:
    return 1.0


@pytest.fixture
def room() -> Room:
    return Room(ModelRef("some", "1"), 2, 100_000)


def test_bytes_are_held_until_they_are_given_back(room: Room):
    held = room.enter("ada", 25_000, now)
    room.exchange("ada", held, 70_000, now)
    with pytest.raises(Overloaded, match="70000 of 100000") as refused:
        room.enter("ada", 10_000, lambda: 7.0)
    assert refused.value.retry_after_s == 7.0
    room.leave("ada", 70_000)
    room.enter("ada", 10_000, now)


def test_many_small_requests_are_bounded_too(room: Room):
    """A thousand clients that announce nothing at all hold something each."""
    for _ in range(18):
        room.enter("eve", 0, now)
    with pytest.raises(Overloaded):
        room.enter("eve", 0, now)


def test_the_innocent_finds_room_beside_whoever_takes_all_that_it_can_get(room: Room):
    """Eve announces bodies and sends none, small and large, until she is refused; Ada's upload still has its room."""
    for announced in (25_000, 10_000, 5000, 0):
        with contextlib.suppress(Overloaded):
            for _ in range(100):
                room.enter("eve", announced, now)
    assert room.held_bytes > 70_000
    held = room.enter("ada", 5000, now)
    assert room.exchange("ada", held, 12_000, now) == 12_000


def test_two_who_take_all_leave_room_for_a_third(room: Room):
    for _ in range(50):
        for greedy in ("eve", "mallory"):
            with contextlib.suppress(Overloaded):
                room.enter(greedy, 5000, now)
    room.enter("ada", 5000, now)


def test_small_announcements_do_not_get_round_the_bound_on_what_is_decoded(room: Room):
    """Two bytes of JSON may become eight of INT64, and a deflated body thousands."""
    room.exchange("eve", room.enter("eve", 1, now), 60_000, now)
    held = room.enter("eve", 1, now)
    with pytest.raises(Overloaded):
        room.exchange("eve", held, 20_000, now)
    room.leave("eve", held)
    room.leave("eve", 60_000)
    assert room.held_bytes == 0


def test_the_decoded_inputs_take_the_place_of_the_announced_bytes(room: Room):
    held = room.enter("ada", 20_000, now)
    held = room.exchange("ada", held, 5000, now)
    assert room.held_bytes == 5000
    with pytest.raises(BodyTooLarge, match="fewer rows"):
        room.exchange("ada", held, 75_001, now)
    assert room.held_bytes == 5000


def test_an_announcement_beyond_everything_waits_for_its_true_length(room: Room):
    assert room.enter("ada", 1 << 40, now) == 25_000


def test_retry_after_is_the_time_that_the_queue_takes():
    assert retry_after_s(0, 0.0, 1.0, 1) == 1.0
    assert retry_after_s(100, 0.5, 10.0, 1) == 5.0
    assert retry_after_s(100, 0.5, 10.0, 2) == 3.0
    assert retry_after_s(10**6, 10.0, 1.0, 1) == 60.0
