"""The breaker over a clock that only the test moves."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from torchgate.engine.breaker import LONGEST_PAUSE_S, MAX_RECORDS, Breaker, Entry

EVE, ADA = "key:eve", "key:ada"


def opened(offences: int = 3, *, window_s: float = 100.0, pause_s: float = 10.0) -> Breaker:
    """One whose circuit for Eve opened at time 0."""
    breaker = Breaker(offences, window_s, pause_s)
    assert [breaker.offended(EVE, 0.0) for _ in range(offences)] == [False] * (offences - 1) + [True]
    return breaker


def test_the_third_offence_within_the_window_opens_the_circuit():
    breaker = Breaker(3, 100.0, 10.0)
    assert not breaker.offended(EVE, 0.0)
    assert not breaker.offended(EVE, 50.0)
    assert breaker.entry(EVE, 50.0) is Entry.FREE
    assert breaker.offended(EVE, 100.0)
    assert (breaker.entry(EVE, 100.0), breaker.open, breaker.wait_s(EVE, 104.0)) == (Entry.REFUSED, 1, 6.0)


def test_offences_are_forgotten_after_the_window():
    breaker = Breaker(3, 100.0, 10.0)
    breaker.offended(EVE, 0.0)
    breaker.offended(EVE, 50.0)
    assert not breaker.offended(EVE, 100.5)
    assert breaker.has_offended(EVE, 200.0)
    assert not breaker.has_offended(EVE, 201.0)


def test_nobody_else_is_refused():
    breaker = opened()
    assert breaker.entry(ADA, 1.0) is Entry.FREE
    assert not breaker.has_offended(ADA, 1.0)
    assert breaker.wait_s(ADA, 1.0) == 0.0


def test_after_the_pause_one_may_try_and_all_others_wait_for_it():
    breaker = opened()
    assert breaker.entry(EVE, 9.9) is Entry.REFUSED
    assert breaker.entry(EVE, 10.0) is Entry.ALONE
    breaker.try_one(EVE)
    assert breaker.entry(EVE, 1000.0) is Entry.REFUSED
    breaker.proved_nothing(EVE)
    assert breaker.entry(EVE, 1000.0) is Entry.ALONE


def test_a_harmless_trial_closes_and_clears():
    breaker = opened()
    breaker.try_one(EVE)
    breaker.proved_harmless(EVE)
    assert (breaker.entry(EVE, 11.0), breaker.open, breaker.has_offended(EVE, 11.0)) == (Entry.FREE, 0, False)
    assert not breaker.offended(EVE, 12.0)


def test_each_trial_that_offends_doubles_the_pause_up_to_a_limit():
    breaker, now, pauses = opened(), 10.0, []
    for _ in range(12):
        assert breaker.entry(EVE, now) is Entry.ALONE
        breaker.try_one(EVE)
        assert not breaker.offended(EVE, now, on_trial=True)
        pauses.append(breaker.wait_s(EVE, now))
        now += pauses[-1]
    assert pauses[:4] == [20.0, 40.0, 80.0, 160.0]
    assert pauses[-1] == LONGEST_PAUSE_S
    assert breaker.open == 1


def test_a_pause_longer_than_the_limit_is_kept_as_it_was_chosen():
    assert opened(1, pause_s=5000.0).wait_s(EVE, 0.0) == 5000.0


def test_what_was_under_way_when_it_opened_changes_nothing():
    """Nine more rows of the same lost batch are no nine more openings."""
    breaker = opened()
    for _ in range(9):
        assert not breaker.offended(EVE, 1.0)
    assert (breaker.open, breaker.wait_s(EVE, 1.0)) == (1, 9.0)


def test_no_offences_as_a_limit_means_never():
    breaker = Breaker(0, 100.0, 10.0)
    assert not any(breaker.offended(EVE, 0.0) for _ in range(100))
    assert breaker.entry(EVE, 0.0) is Entry.FREE


def test_memory_is_bounded_and_the_worst_of_now_are_kept():
    """The attacker has ten thousand keys; those that offended long ago are forgotten first, open ones counted."""
    breaker = Breaker(1, 100.0, 10.0)
    for index in range(10_000):
        assert breaker.offended(f"key:{index}", index / 1000)
    assert breaker.open == len(breaker._records) == MAX_RECORDS
    assert breaker.entry("key:9999", 10.0) is Entry.REFUSED
    assert breaker.entry("key:0", 10.0) is Entry.FREE


def test_whose_window_is_over_makes_room_before_anybody_who_is_refused():
    breaker = Breaker(2, 100.0, 1e6)
    breaker.offended(EVE, 0.0)
    breaker.offended(EVE, 0.0)
    for index in range(MAX_RECORDS):
        breaker.offended(f"key:{index}", 1.0)
    breaker.offended("key:late", 500.0)
    assert breaker.entry(EVE, 500.0) is Entry.REFUSED
    assert len(breaker._records) == 2


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["offend", "ask", "harmless", "guilty", "nothing"]),
        st.sampled_from(["a", "b", "c"]),
        st.floats(0, 40),
    ),
    max_size=80,
)


@given(STEPS, st.integers(1, 4))
@settings(deadline=None)
def test_whatever_happens_it_refuses_only_who_offended_and_lets_one_at_a_time_try(
    steps: list[tuple[str, str, float]], limit: int
) -> None:
    """Against a model that only counts: who never offended is free, and there is never a second trial at once."""
    breaker, now = Breaker(limit, 60.0, 10.0), 0.0
    offences = dict.fromkeys("abc", 0)
    on_trial: set[str] = set()
    for what, key, wait_s in steps:
        now += wait_s
        if what == "offend":
            breaker.offended(key, now)
            offences[key] += 1
        elif what == "ask" and breaker.entry(key, now) is Entry.ALONE:
            assert key not in on_trial
            breaker.try_one(key)
            on_trial.add(key)
        elif key in on_trial and what != "ask":
            on_trial.discard(key)
            if what == "harmless":
                breaker.proved_harmless(key)
                offences[key] = 0
                assert breaker.entry(key, now) is Entry.FREE
            elif what == "guilty":
                breaker.offended(key, now, on_trial=True)
                assert breaker.entry(key, now) is Entry.REFUSED
            else:
                breaker.proved_nothing(key)
        for one, count in offences.items():
            if count < limit:
                assert breaker.entry(one, now) is Entry.FREE
            if one in on_trial:
                assert breaker.entry(one, now) is Entry.REFUSED
        assert breaker.open == sum(breaker.entry(one, now) is not Entry.FREE for one in "abc")
