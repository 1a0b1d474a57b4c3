"""Quotas: never more than is allowed, never a trace of a refusal, and a Retry-After that keeps its word."""

from __future__ import annotations

from itertools import accumulate

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchgate.contract.errors import BodyTooLarge, QuotaExceeded
from torchgate.contract.principal import Principal
from torchgate.engine.quota_charge import Charge
from torchgate.engine.quota_checks import quota_checks
from torchgate.engine.quota_settings import QuotaSettings
from torchgate.engine.quotas import Quotas


class Clock:
    """Goes where the test says."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def principal(key: str = "key:ada", *roles: str) -> Principal:
    return Principal(key, key, "api_key", "key", roles=frozenset(roles or ("analyst",)))


def entered(quotas: Quotas, who: Principal, model: str = "digits", request_bytes: int = 100) -> Charge:
    charge = quotas.enter(who, model, request_bytes)
    assert charge is not None
    return charge


def refused(quotas: Quotas, who: Principal, model: str = "digits", request_bytes: int = 100) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as error:
        quotas.enter(who, model, request_bytes)
    assert error.value.retry_after_s is not None
    return error.value


def test_whom_no_quota_is_about_takes_nothing():
    quotas = Quotas([QuotaSettings(role="analyst", requests_per_minute=1)], Clock())
    assert quotas.enter(principal("key:bob", "trainee"), "digits", 10**12) is None
    assert Quotas((), Clock()).enter(principal(), "digits", 1) is None


def test_the_sentence_names_the_quota_what_is_seen_and_what_is_allowed():
    clock = Clock()
    quotas = Quotas([QuotaSettings(role="analyst", model="digits", requests_per_minute=2)], clock)
    entered(quotas, principal())
    entered(quotas, principal())
    error = refused(quotas, principal())
    assert error.code == "quota_exceeded"
    assert error.retry_after_s == pytest.approx(30.0, abs=0.002)
    assert error.sentence == (
        "Quota 'role analyst, model digits' of model 'digits' has no room for this request: 2 of 2 requests are used "
        "and this request needs 1; 2 come back each minute. Try again in 30.001 s."
    )


def test_each_member_of_a_role_has_the_quota_for_itself():
    quotas = Quotas([QuotaSettings(role="analyst", requests_per_minute=1)], Clock())
    entered(quotas, principal("key:ada"))
    refused(quotas, principal("key:ada"))
    entered(quotas, principal("key:bob"))


def test_a_shared_quota_is_one_for_all_its_members():
    quotas = Quotas([QuotaSettings(role="analyst", shared=True, requests_per_minute=2)], Clock())
    entered(quotas, principal("key:ada"))
    entered(quotas, principal("key:bob"))
    assert "shared by all" in refused(quotas, principal("key:eve")).sentence


def test_a_quota_of_a_model_counts_each_principal_on_that_model_alone():
    quotas = Quotas([QuotaSettings(model="digits", requests_per_minute=1)], Clock())
    entered(quotas, principal("key:ada"), "digits")
    entered(quotas, principal("key:bob"), "digits")
    assert quotas.enter(principal("key:ada"), "words", 1) is None
    refused(quotas, principal("key:ada"), "digits")


def test_without_a_model_requests_to_all_models_count_together():
    quotas = Quotas([QuotaSettings(principal="key:ada", requests_per_minute=2)], Clock())
    entered(quotas, principal(), "digits")
    entered(quotas, principal(), "words")
    refused(quotas, principal(), "more")
    assert quotas.enter(principal("key:bob"), "digits", 1) is None


def test_all_that_is_selected_must_fit():
    """Role, principal and model in one quota: only that principal, with that role, on that model."""
    one = QuotaSettings(role="analyst", principal="key:ada", model="digits", requests_per_minute=1)
    quotas = Quotas([one], Clock())
    assert quotas.enter(principal("key:ada", "trainee"), "digits", 1) is None
    assert quotas.enter(principal("key:bob", "analyst"), "digits", 1) is None
    assert quotas.enter(principal("key:ada", "analyst"), "words", 1) is None
    entered(quotas, principal("key:ada", "analyst"), "digits")
    refused(quotas, principal("key:ada", "analyst"), "digits")


def test_every_quota_of_every_role_must_have_room_and_a_refusal_takes_of_none():
    quotas = Quotas(
        [QuotaSettings(role="analyst", requests_per_minute=100), QuotaSettings(role="night", requests_per_minute=1)],
        Clock(),
    )
    both = principal("key:ada", "analyst", "night")
    entered(quotas, both)
    before = quotas.use(both)
    for _ in range(50):
        assert "role night" in refused(quotas, both).sentence
    assert quotas.use(both) == before
    assert [use.used for use in before] == [1.0, 1.0]


def test_concurrent_requests_are_given_back_at_the_end_however_often_it_is_told():
    quotas = Quotas([QuotaSettings(role="analyst", concurrent_requests=2)], Clock())
    first, _ = entered(quotas, principal()), entered(quotas, principal())
    assert "2 of 2 requests at a time" in refused(quotas, principal()).sentence
    first.end()
    first.end()
    entered(quotas, principal())
    refused(quotas, principal())


def test_announced_bytes_are_exchanged_for_the_real_ones():
    quotas = Quotas([QuotaSettings(role="analyst", request_bytes_per_minute=1000)], Clock())
    charge = entered(quotas, principal(), request_bytes=900)
    refused(quotas, principal(), request_bytes=101)
    charge.exchange_bytes(50)
    assert quotas.use(principal())[0].used == 50
    charge.exchange_bytes(950)
    assert quotas.use(principal())[0].used == 950


def test_more_real_bytes_than_there_are_refuse_and_the_refund_leaves_no_trace():
    """A small body that inflates: 10 bytes announced, 800 decoded, and only 700 are left."""
    clock = Clock()
    quotas = Quotas([QuotaSettings(role="analyst", requests_per_minute=10, request_bytes_per_minute=600)], clock)
    entered(quotas, principal(), request_bytes=100)
    charge = entered(quotas, principal(), request_bytes=10)
    with pytest.raises(QuotaExceeded) as error:
        charge.exchange_bytes(550)
    charge.refund()
    charge.end()
    assert [use.used for use in quotas.use(principal())] == [1.0, 100.0]
    clock.now += error.value.retry_after_s or 0.0
    entered(quotas, principal(), request_bytes=550)


def test_an_unannounced_body_needs_all_there_is_until_its_length_is_known():
    """The gate announces its own limit for it, which may be more than the quota ever has."""
    quotas = Quotas([QuotaSettings(role="analyst", request_bytes_per_minute=1000)], Clock())
    charge = entered(quotas, principal(), request_bytes=1 << 40)
    refused(quotas, principal(), request_bytes=1)
    charge.exchange_bytes(10)
    entered(quotas, principal(), request_bytes=990)


@pytest.mark.parametrize("rows", [601, 10**15])
def test_what_never_fits_is_told_so_and_not_to_come_again(rows: int):
    """A client that obeys Retry-After would come for ever."""
    quotas = Quotas([QuotaSettings(role="analyst", rows_per_minute=600, request_bytes_per_minute=100)], Clock())
    charge = entered(quotas, principal())
    with pytest.raises(BodyTooLarge, match=r"Quota 'role analyst' never has room for more than 600 at once") as error:
        charge.take_rows(rows)
    assert error.value.retry_after_s is None
    with pytest.raises(BodyTooLarge, match="more than 100 at once"):
        charge.exchange_bytes(101)
    assert sum(total.refusals for total in quotas.totals()) == 2


def test_owed_compute_seconds_are_paid_back_before_the_next_request():
    clock = Clock()
    quotas = Quotas([QuotaSettings(role="analyst", compute_seconds_per_minute=6)], clock)
    charge = entered(quotas, principal())
    charge.end()
    charge.take_compute(9.0)  # after its caller has gone
    error = refused(quotas, principal())
    assert "9 of 6 compute-seconds are used" in error.sentence
    assert error.retry_after_s == pytest.approx(30.0, abs=0.002)
    clock.now += 29.9
    refused(quotas, principal())
    clock.now += 0.101
    entered(quotas, principal())


def test_compute_seconds_reach_a_holder_that_was_forgotten_meanwhile():
    """Its request ended, it looked idle, and its batch came back later."""
    clock = Clock()
    quotas = Quotas([QuotaSettings(role="analyst", compute_seconds_per_minute=6)], clock)
    charge = entered(quotas, principal())
    charge.end()
    assert quotas.use(None) == ()
    charge.take_compute(9.0)
    refused(quotas, principal())
    assert [use.used for use in quotas.use(None)] == [9.0]


def test_idle_holders_are_forgotten_while_others_come():
    """A thousand principals, one after the other, and as many that pause in between as will."""
    clock = Clock()
    quotas = Quotas([QuotaSettings(role="analyst", requests_per_minute=60)], clock)
    (quota,) = quotas._quotas
    for number in range(1000):
        entered(quotas, principal(f"key:p{number}")).end()
        clock.now += 0.5  # each is idle again after 1 s
    assert len(quota.holdings) <= 5
    clock.now += 1.0
    assert quotas.use(None) == ()
    assert not quota.holdings


def test_a_holder_whose_request_still_runs_is_not_forgotten():
    clock = Clock()
    quotas = Quotas([QuotaSettings(role="analyst", concurrent_requests=1)], clock)
    charge = entered(quotas, principal())
    clock.now += 10_000.0
    for number in range(10):
        entered(quotas, principal(f"key:p{number}")).end()
    quotas.totals()
    refused(quotas, principal())
    charge.end()
    entered(quotas, principal())


def test_looking_makes_nobody_a_holder_and_shows_what_is_not_used_yet():
    quotas = Quotas([QuotaSettings(role="analyst", rows_per_minute=600, burst_s=6.0)], Clock())
    (use,) = quotas.use(principal())
    assert (use.quota, use.unit, use.limit, use.at_once, use.used) == (
        "role analyst", "rows_per_minute", 600.0, 60.0, 0.0,
    )  # fmt: skip
    assert quotas.use(None) == ()
    assert quotas.use(principal("key:bob", "trainee")) == ()


def test_totals_name_nobody_and_show_the_one_nearest_to_its_limit():
    quotas = Quotas(
        [QuotaSettings(name="q", role="analyst", requests_per_minute=4, compute_seconds_per_minute=6)], Clock()
    )
    for number, count in enumerate((1, 2, 4)):
        for _ in range(count):
            entered(quotas, principal(f"key:p{number}"))
    refused(quotas, principal("key:p2"))
    requests, compute = quotas.totals()
    assert (requests.holders, requests.exhausted, requests.highest_use, requests.refusals) == (3, 1, 1.0, 1)
    assert (compute.holders, compute.exhausted, compute.highest_use, compute.refusals) == (0, 0, 0.0, 0)
    assert "key:" not in repr(quotas.totals())


def test_a_clock_that_stands_or_goes_back_brings_nothing():
    clock = Clock()
    quotas = Quotas([QuotaSettings(role="analyst", requests_per_minute=1)], clock)
    entered(quotas, principal())
    for now in (clock.now, clock.now - 500.0, clock.now):
        clock.now = now
        refused(quotas, principal())


def test_what_is_used_can_cross_a_pipe():
    quotas = Quotas([QuotaSettings(role="analyst", requests_per_minute=1)], Clock())
    entered(quotas, principal())
    for value in (quotas.use(None), quotas.totals()):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=list[type(value[0])]) == list(value)


# What must hold whatever happens in whatever order.

STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 40.0),  # seconds that pass
        st.sampled_from(["key:ada", "key:bob"]),
        st.integers(0, 60),  # bytes announced
        st.integers(0, 60),  # real bytes
        st.integers(1, 12),  # rows
        st.floats(0.0, 5.0),  # compute-seconds
        st.booleans(),  # whether it ends before the next
    ),
    max_size=40,
)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "requests_per_minute": st.integers(1, 30),
        "concurrent_requests": st.integers(1, 4),
        "rows_per_minute": st.integers(1, 60),
        "request_bytes_per_minute": st.integers(1, 300),
        "compute_seconds_per_minute": st.floats(0.1, 20.0),
    },
).filter(bool)
QUOTAS = st.lists(
    st.builds(
        lambda limits, shared, burst_s: QuotaSettings(role="analyst", shared=shared, burst_s=burst_s, **limits),
        LIMITS,
        st.booleans(),
        st.sampled_from([5.0, 60.0, 120.0]),
    ).filter(lambda one: not list(quota_checks([one], {"analyst"}))),  # those that stop everything are refused
    min_size=1,
    max_size=3,
)
TAKEN = {"requests_per_minute": 0, "rows_per_minute": 1, "request_bytes_per_minute": 2}


@given(QUOTAS, STEPS)
def test_no_window_ever_holds_more_than_the_burst_and_what_came_back(settings, steps):
    """Requests, rows and bytes of each holder, in every window between two of its requests."""
    clock = Clock()
    quotas = Quotas(settings, clock)
    taken: dict[str, list[tuple[float, tuple[int, int, int]]]] = {"key:ada": [], "key:bob": []}
    open_charges: list[Charge] = []
    for passed_s, key, announced, real, rows, compute_s, ends in steps:
        clock.now += passed_s
        try:
            charge = entered(quotas, principal(key), request_bytes=announced)
        except QuotaExceeded:
            continue
        open_charges.append(charge)
        try:
            charge.exchange_bytes(real)
            charge.take_rows(rows)
        except (QuotaExceeded, BodyTooLarge):
            charge.refund()
        else:
            taken[key].append((clock.now, (1, rows, real)))
            charge.take_compute(compute_s)
        if ends:
            charge.end()
    for one in settings:
        groups = [sorted(taken["key:ada"] + taken["key:bob"])] if one.shared else list(taken.values())
        for group in groups:
            _check_quota(one, group)
    for charge in open_charges:
        charge.end()
    assert all(use.used == 0 for use in quotas.use(None) if use.unit == "concurrent_requests")
    clock.now += 10**7
    assert quotas.use(None) == ()


def _check_quota(one: QuotaSettings, taken: list[tuple[float, tuple[int, int, int]]]) -> None:
    for unit, limit in one.limits():
        if unit in TAKEN:
            _check_windows([(at, some[TAKEN[unit]]) for at, some in taken], one.at_once(unit), limit / 60.0)


def _check_windows(taken: list[tuple[float, int]], at_once: float, per_s: float) -> None:
    sums = [0, *accumulate(amount for _, amount in taken)]
    for first, (started_at, _) in enumerate(taken):
        for last, (ended_at, _) in enumerate(taken[first:], first):
            allowed = at_once + (ended_at - started_at) * per_s
            assert sums[last + 1] - sums[first] <= allowed + 1e-6


@given(QUOTAS, STEPS)
def test_a_refusal_leaves_no_trace_and_its_retry_after_is_true(settings, steps):
    """Whoever comes again after exactly that time, while nobody else came, is let in (unless places were lacking)."""
    clock = Clock()
    quotas = Quotas(settings, clock)
    for passed_s, key, announced, real, rows, compute_s, _ in steps:
        clock.now += passed_s
        who, before = principal(key), quotas.use(None)
        charge = None
        try:
            charge = entered(quotas, who, request_bytes=announced)
            charge.exchange_bytes(real)
            charge.take_rows(rows)
        except QuotaExceeded as error:
            if charge is not None:
                charge.refund()
                charge.end()
            _same(quotas.use(None), before)
            clock.now += error.retry_after_s or 0.0
            charge = entered(quotas, who, request_bytes=announced)
        except BodyTooLarge:
            pass
        else:
            charge.take_compute(compute_s)
        if charge is not None:
            charge.end()  # so that places never lack here


def _same(after, before) -> None:
    assert [(use.quota, use.unit, use.holder) for use in after] == [(use.quota, use.unit, use.holder) for use in before]
    for one, other in zip(after, before, strict=True):
        assert one.used == pytest.approx(other.used, abs=1e-9)
