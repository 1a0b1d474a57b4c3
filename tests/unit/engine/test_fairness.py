"""Nobody starves anybody: principals of one queue, as an attacker would try them."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rigs.engine_questions import person

from torchgate.contract.inference import InferenceRequest
from torchgate.contract.principal import Principal
from torchgate.engine.batcher import Batcher
from torchgate.engine.ratings import Ratings
from torchgate.engine.settings import ShareSettings
from torchgate.engine.waiting import ShapeKey, Waiting

SHARES = (
    ShareSettings(role="gold", weight=4.0),
    ShareSettings(role="first", priority=1),
    ShareSettings(role="both", weight=2.0, priority=1),
)


class NoSlot:
    view = memoryview(b"")

    def release(self) -> None: ...


def make(key: str, *, rows: int = 1, shape: ShapeKey = (), role: str = "") -> Waiting:
    principal = person(key)
    if role:
        principal = Principal(key, key, "api_key", "key", roles=frozenset({role}))
    loop = asyncio.new_event_loop()
    try:
        return Waiting(InferenceRequest(key, principal, (), rows, 1e9), NoSlot(), shape, 0.0, loop.create_future())
    finally:
        loop.close()


class Rig:
    """A queue and a worker on a clock of their own; a batch takes what `time_of` says."""

    def __init__(self, time_of: Callable[[list[Waiting]], float], max_batch_size: int = 8) -> None:
        self.batcher = Batcher(max_batch_size, 0.0, Ratings(SHARES))
        self.now = 0.0
        self.used: Counter[str] = Counter()
        self.batches: list[list[str]] = []
        self._time_of = time_of

    def add(self, *waiting: Waiting) -> None:
        for one in waiting:
            self.batcher.add(one, self.now)

    def run(self) -> list[Waiting]:
        batch, _ = self.batcher.take(self.now)
        used_s = self._time_of(batch)
        self.now += used_s
        rows = sum(one.request.rows for one in batch)
        for one in batch:
            self.used[one.request.principal.key] += used_s * one.request.rows / rows
        self.batches.append([one.request.principal.key for one in batch])
        self.batcher.settle(batch, used_s)
        return batch


def by_rows(batch: list[Waiting]) -> float:
    return 0.01 + 0.001 * sum(one.request.rows for one in batch)


def test_a_flood_of_a_hundred_to_one_delays_the_other_by_no_more_than_the_batch_that_runs():
    """Eve has a hundred requests in the queue whenever Ada comes with one: Ada is in the very next batch."""
    rig = Rig(by_rows)
    for _ in range(50):
        rig.add(*(make("eve", rows=2) for _ in range(100 - rig.batcher.requests)))
        rig.run()
        ada = make("ada")
        rig.add(ada)
        assert ada in rig.run()


def test_a_request_of_the_largest_size_takes_no_more_than_its_share():
    rig = Rig(by_rows)
    for _ in range(400):
        while rig.batcher.requests < 20:
            rig.add(make("eve", rows=8), make("ada"), make("ada"))
        rig.run()
    assert rig.used["ada"] >= 0.3 * rig.used["eve"]
    waits = [index for index, batch in enumerate(rig.batches) if "ada" in batch]
    assert max(later - earlier for earlier, later in itertools.pairwise(waits)) <= 2


def test_a_shape_for_each_request_gets_no_more_time_than_others():
    """Eve's requests never share a batch, and each costs as much as eight of Ada's: she gets half, not nearly all."""
    rig = Rig(lambda _: 0.01)
    for index in range(600):
        rig.add(make("eve", shape=((index % 50,),)), *(make("ada") for _ in range(8)))
        rig.run()
    assert rig.used["eve"] == pytest.approx(rig.used["ada"], rel=0.1)


def test_rows_that_are_cheap_to_count_and_dear_to_run_are_paid_by_time():
    """A row of Eve's takes a hundred times as long as one of Ada's; only measuring tells."""
    rig = Rig(
        lambda batch: sum(0.1 if one.request.principal.key == "eve" else 0.001 for one in batch), max_batch_size=1
    )
    for _ in range(3000):
        while rig.batcher.requests < 4:
            rig.add(make("eve"), make("ada"))
        if not any(share.waiting for key, share in rig.batcher._shares.items() if key == "ada"):
            rig.add(make("ada"))
        rig.run()
    assert rig.used["eve"] == pytest.approx(rig.used["ada"], rel=0.2)


def test_who_was_idle_has_saved_nothing():
    rig = Rig(by_rows, max_batch_size=1)
    rig.add(make("ada"))
    rig.run()
    rig.add(*(make("eve") for _ in range(50)))
    for _ in range(40):
        rig.run()
    rig.add(*(make("ada") for _ in range(10)))
    for _ in range(10):
        rig.run()
    assert Counter(owner for batch in rig.batches[-10:] for owner in batch) == {"ada": 5, "eve": 5}


def test_who_goes_and_comes_again_owes_what_it_owed():
    """Eve ran something long, takes back all that she has, and asks anew: Ada is still before her."""
    rig = Rig(lambda batch: 1.0 if batch[0].request.principal.key == "eve" else 0.1, max_batch_size=1)
    rest = [make("eve") for _ in range(5)]
    rig.add(make("ada"), make("eve"), *rest, *(make("ada") for _ in range(20)))
    rig.run()
    rig.run()
    for one in rest:
        rig.batcher.remove(one)
    rig.add(*(make("eve") for _ in range(5)))
    for _ in range(8):
        rig.run()
    assert rig.batches[2:] == [["ada"]] * 8


def test_a_tie_goes_to_whoever_was_served_longer_ago():
    rig = Rig(lambda _: 0.1, max_batch_size=1)
    rig.add(*(make(key) for key in ("ada", "ada", "bob", "bob", "eve", "eve")))
    for _ in range(6):
        rig.run()
    assert rig.batches == [["ada"], ["bob"], ["eve"]] * 2


def test_a_large_request_does_not_keep_small_ones_of_others_out_of_a_batch_that_has_room():
    rig = Rig(by_rows)
    rig.add(make("ada"), make("eve", rows=8), make("bob"))
    rig.run()
    rig.run()
    assert rig.batches == [["ada", "bob"], ["eve"]]


def test_weights_divide_the_time():
    rig = Rig(by_rows, max_batch_size=4)
    for _ in range(1000):
        while rig.batcher.requests < 40:
            rig.add(make("rich", role="gold"), make("poor"))
        for key, role in (("rich", "gold"), ("poor", "")):
            share = rig.batcher._shares[key]
            rig.add(*(make(key, role=role) for _ in range(10 - share.waiting)))
        rig.run()
    assert rig.used["rich"] / rig.used["poor"] == pytest.approx(4.0, rel=0.05)


def test_a_higher_priority_goes_first_and_a_lower_one_still_gets_a_tenth():
    rig = Rig(lambda _: 0.01, max_batch_size=1)
    for _ in range(1000):
        rig.add(make("high", role="first"), make("low"))
        rig.run()
    assert rig.used["low"] / rig.now == pytest.approx(0.1, abs=0.01)


def test_long_batches_of_a_lower_priority_still_get_no_more_than_a_tenth():
    rig = Rig(lambda batch: 1.0 if batch[0].request.principal.key == "low" else 0.01, max_batch_size=1)
    for _ in range(5000):
        rig.add(make("high", role="first"), make("low"))
        rig.run()
    assert rig.used["low"] / rig.now < 0.15


def test_of_several_roles_the_best_counts():
    both = Principal("a", "a", "api_key", "key", roles=frozenset({"gold", "first", "both"}))
    rating = Ratings(SHARES).of(both)
    assert (rating.weight, rating.priority) == (2.0, 1)
    assert Ratings(SHARES).of(person("nobody")).weight == 1.0


def test_a_full_queue_takes_the_last_request_of_whoever_fills_it():
    rig = Rig(by_rows)
    flood = [make("eve") for _ in range(10)]
    rig.add(*flood, make("bob"))
    assert rig.batcher.would_crowd(person("eve"))
    assert not rig.batcher.would_crowd(person("ada"))
    assert rig.batcher.push_out() is flood[-1]


def test_what_is_too_much_is_counted_by_weight():
    rig = Rig(by_rows)
    rig.add(*(make("rich", role="gold") for _ in range(6)), *(make("poor") for _ in range(2)))
    rich = Principal("rich", "rich", "api_key", "key", roles=frozenset({"gold"}))
    assert not rig.batcher.would_crowd(rich)
    assert rig.batcher.would_crowd(person("poor"))


def test_a_thousand_principals_leave_nothing_behind():
    rig = Rig(by_rows)
    for index in range(2000):
        rig.add(make(f"p{index}"))
        rig.run()
    assert len(rig.batcher._shares) < 200


EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.sampled_from("abcd"), st.integers(1, 4), st.sampled_from([(), ((1,),)]),
            st.sampled_from(["", "gold", "first"]),
        ),
        st.tuples(st.just("take"), st.just(""), st.just(0), st.just(()), st.just("")),
        st.tuples(st.just("end"), st.just(""), st.integers(0, 50), st.just(()), st.just("")),
        st.tuples(st.just("remove"), st.just(""), st.integers(0, 50), st.just(()), st.just("")),
        st.tuples(st.just("push out"), st.just(""), st.just(0), st.just(()), st.just("")),
    ),
    max_size=80,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(EVENTS)
def test_nothing_is_lost_and_nothing_runs_twice_whatever_happens(
    events: list[tuple[str, str, int, ShapeKey, str]],
):
    """Batches that run side by side, end in any order and take any time; and whoever waits always finds a batch."""
    batcher = Batcher(4, 0.0, Ratings(SHARES))
    waits: list[Waiting] = []
    running: list[list[Waiting]] = []
    for what, key, number, shape, role in events:
        if what == "add":
            waits.append(make(f"{key}{role}", rows=number, shape=shape, role=role))
            batcher.add(waits[-1], 0.0)
        elif what == "take":
            batch, expired = batcher.take(0.0)
            assert bool(batch) == bool(waits)
            assert not expired
            assert sum(one.request.rows for one in batch) <= 4
            assert len({one.shape_key for one in batch}) <= 1
            for one in batch:
                waits.remove(one)
            running += [batch] if batch else []
        elif what == "end" and running:
            batcher.settle(running.pop(number % len(running)), number / 100)
        elif what == "remove" and waits:
            batcher.remove(waits.pop(number % len(waits)))
        elif what == "push out" and waits:
            out = batcher.push_out()
            assert out is not None
            waits.remove(out)
        assert batcher.requests == len(waits)
    for batch in running:
        batcher.settle(batch, 0.1)
    assert len(batcher.drain()) == len(waits)
    assert not any(tier.lines for tier in batcher._tiers._in_order)
    assert not any(share.waiting or share.runs or share.turns for share in batcher._shares.values())
