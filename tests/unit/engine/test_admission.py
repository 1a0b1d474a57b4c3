"""Room for requests, in bytes and in places of the queue."""

from __future__ import annotations

import pytest

from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import BodyTooLarge, Overloaded
from torchgate.engine.admission import Room, retry_after_s


@pytest.fixture
def room() -> Room:
    return Room(ModelRef("some", "1"), 2, 100_000)


def test_bytes_are_held_until_they_are_given_back(room: Room):
    held = room.enter(60_000, 0, lambda: 1.0)
    with pytest.raises(Overloaded, match="60000 of 100000") as refused:
        room.enter(60_000, 0, lambda: 7.0)
    assert refused.value.retry_after_s == 7.0
    room.leave(held)
    room.enter(60_000, 0, lambda: 1.0)


def test_many_small_requests_are_bounded_too(room: Room):
    """A thousand clients that announce nothing at all hold something each."""
    for _ in range(24):
        room.enter(0, 0, lambda: 1.0)
    with pytest.raises(Overloaded):
        room.enter(0, 0, lambda: 1.0)


def test_a_full_queue_refuses_at_the_door(room: Room):
    room.enter(1, 1, lambda: 1.0)
    with pytest.raises(Overloaded, match="2 requests waiting"):
        room.enter(1, 2, lambda: 1.0)
    assert room.coming == 1


def test_the_decoded_inputs_take_the_place_of_the_announced_bytes(room: Room):
    held = room.enter(90_000, 0, lambda: 1.0)
    held = room.exchange(held, 1000)
    assert room.held_bytes == 1000
    with pytest.raises(BodyTooLarge, match="fewer rows"):
        room.exchange(held, 100_001)
    assert room.held_bytes == 1000


def test_an_announcement_beyond_everything_waits_for_its_true_length(room: Room):
    assert room.enter(1 << 40, 0, lambda: 1.0) == 100_000


def test_retry_after_is_the_time_that_the_queue_takes():
    assert retry_after_s(0, 0.0, 1.0, 1) == 1.0
    assert retry_after_s(100, 0.5, 10.0, 1) == 5.0
    assert retry_after_s(100, 0.5, 10.0, 2) == 3.0
    assert retry_after_s(10**6, 10.0, 1.0, 1) == 60.0
