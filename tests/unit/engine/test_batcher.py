"""Which requests run together, and in which order."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rigs.engine_questions import person

from torchgate.contract.inference import InferenceRequest
from torchgate.engine.batcher import Batcher
from torchgate.engine.waiting import ShapeKey, Waiting


class NoSlot:
    view = memoryview(b"")

    def release(self) -> None: ...


def make(  # each of what matters to a batch
    name: str, *, rows: int = 1, key: str = "ada", priority: int = 0, deadline_at: float = 1e9, shape: ShapeKey = ()
) -> Waiting:
    request = InferenceRequest(name, person(key), (), rows, deadline_at, priority=priority)
    loop = asyncio.new_event_loop()
    try:
        return Waiting(request, NoSlot(), shape, 0.0, loop.create_future())
    finally:
        loop.close()


def names(batch: list[Waiting]) -> list[str]:
    return [one.request.request_id for one in batch]


def queue(*waiting: Waiting, max_batch_size: int = 4, max_batch_delay_s: float = 1.0) -> Batcher:
    batcher = Batcher(max_batch_size, max_batch_delay_s)
    for now, one in enumerate(waiting):
        one.accepted_at = float(now)
        batcher.add(one, float(now))
    return batcher


def test_a_batch_is_filled_in_the_order_of_arrival():
    batcher = queue(*(make(str(index)) for index in range(6)))
    assert names(batcher.take(0.0)[0]) == ["0", "1", "2", "3"]
    assert names(batcher.take(0.0)[0]) == ["4", "5"]
    assert batcher.take(0.0) == ([], [])


def test_rows_bound_a_batch_and_no_request_overtakes_a_large_one_of_its_own_principal():
    batcher = queue(make("a", rows=3), make("b", rows=2), make("c", rows=1))
    assert names(batcher.take(0.0)[0]) == ["a"]
    assert names(batcher.take(0.0)[0]) == ["b", "c"]


@pytest.mark.parametrize("rows", [0, -1, 5])
def test_a_request_that_no_batch_can_hold_is_refused(rows: int):
    with pytest.raises(ValueError, match="1 to 4"):
        queue(make("large", rows=rows))


def test_a_model_without_batches_gets_one_request_at_a_time():
    batcher = queue(make("a"), make("b"), max_batch_size=0)
    assert names(batcher.take(0.0)[0]) == ["a"]
    assert batcher.due_at(company_is_coming=True) == 0.0


def test_requests_of_different_shapes_never_share_a_batch_and_the_oldest_goes_first():
    short, long = ((8,),), ((9,),)
    batcher = queue(make("a", shape=short), make("b", shape=long), make("c", shape=short), make("d", shape=long))
    assert names(batcher.take(0.0)[0]) == ["a", "c"]
    assert names(batcher.take(0.0)[0]) == ["b", "d"]


def test_a_passed_deadline_is_reported_and_never_runs():
    batcher = queue(make("late", deadline_at=5.0), make("in time", deadline_at=6.0))
    batch, expired = batcher.take(5.0)
    assert (names(batch), names(expired)) == (["in time"], ["late"])


def test_when_all_are_too_late_there_is_no_batch():
    batcher = queue(make("a", deadline_at=1.0), make("b", deadline_at=1.0, shape=((2,),)))
    batch, expired = batcher.take(2.0)
    assert (names(batch), sorted(names(expired))) == ([], ["a", "b"])
    assert batcher.requests == 0


def test_a_request_that_was_taken_back_is_in_no_batch():
    waiting = [make(str(index)) for index in range(3)]
    batcher = queue(*waiting)
    batcher.remove(waiting[1])
    batcher.remove(waiting[1])
    assert batcher.requests == 2
    assert names(batcher.take(0.0)[0]) == ["0", "2"]


def test_with_nobody_on_the_way_nothing_waits():
    assert queue(make("a")).due_at(company_is_coming=False) == 0.0


def test_the_head_waits_for_company_at_most_the_delay():
    assert queue(make("a"), make("b")).due_at(company_is_coming=True) == 1.0


def test_a_full_batch_waits_for_nobody():
    assert queue(*(make(str(index)) for index in range(4))).due_at(company_is_coming=True) == 0.0


def test_an_empty_queue_is_never_due():
    assert queue().due_at(company_is_coming=True) is None


def test_priority_orders_the_callers_own_rows():
    batcher = queue(make("none"), make("low", priority=9), make("high", priority=1), max_batch_size=1)
    order = [names(batcher.take(0.0)[0])[0] for _ in range(3)]
    assert order == ["high", "low", "none"]


def test_priority_moves_nobody_else():
    """An attacker who asks for priority 1 gets ahead of itself alone."""
    batcher = queue(
        make("bob 1", key="bob"),
        make("eve 1", key="eve"),
        make("bob 2", key="bob"),
        make("eve 2", key="eve", priority=1),
        max_batch_size=1,
    )
    order = [names(batcher.take(0.0)[0])[0] for _ in range(4)]
    assert order == ["bob 1", "eve 2", "bob 2", "eve 1"]


def test_priority_orders_late_and_early_requests_alike():
    batcher = queue(make("none"), make("9", priority=9), max_batch_size=1)
    assert names(batcher.take(0.0)[0]) == ["9"]
    for late in (make("2", priority=2), make("late"), make("1", priority=1)):
        batcher.add(late, 0.0)
    assert [names(batcher.take(0.0)[0])[0] for _ in range(4)] == ["1", "2", "none", "late"]


def test_a_storm_of_cancelled_requests_leaves_no_memory_behind():
    batcher = queue(make("stuck"))
    for index in range(1000):
        gone = make(str(index))
        batcher.add(gone, 0.0)
        batcher.remove(gone)
    turn = batcher._shares["ada"].turns[()]
    assert len(turn.members) < 100
    assert len(turn.line._heap) < 100
    assert names(batcher.take(0.0)[0]) == ["stuck"]


def test_draining_gives_everybody_back_in_order():
    batcher = queue(make("a", shape=((1,),)), make("b"), make("c", shape=((1,),)))
    assert names(batcher.drain()) == ["a", "b", "c"]
    assert batcher.requests == 0


REQUESTS = st.lists(
    st.tuples(
        st.integers(1, 4), st.sampled_from("abc"), st.integers(0, 2), st.sampled_from([(), ((1,),)]), st.booleans()
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(REQUESTS)
def test_everybody_runs_exactly_once_and_within_the_bounds(requests: list[tuple[int, str, int, ShapeKey, bool]]):
    """Whatever arrives and is taken back: no row is lost, and none runs twice."""
    waiting = [
        make(str(index), rows=rows, key=key, priority=priority, shape=shape)
        for index, (rows, key, priority, shape, _) in enumerate(requests)
    ]
    batcher = queue(*waiting)
    stays = [one for one, (*_, is_taken_back) in zip(waiting, requests, strict=True) if not is_taken_back]
    for one in waiting:
        if one not in stays:
            batcher.remove(one)
    seen: list[Waiting] = []
    while batcher.requests:
        batch, expired = batcher.take(0.0)
        assert batch
        assert not expired
        assert sum(one.request.rows for one in batch) <= 4
        assert len({one.shape_key for one in batch}) == 1
        seen += batch
    assert sorted(names(seen)) == sorted(names(stays))
