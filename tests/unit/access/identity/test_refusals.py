"""A flood of bad credentials fills neither the disk nor the memory."""

from __future__ import annotations

from tests.unit.access.local_issuer import NOW, Clock

from torchgate.access.identity.refusals import EVERYBODY_ELSE, RefusalLimiter
from torchgate.access.settings import RefusalSettings


def limiter(clock: Clock, **settings: float) -> RefusalLimiter:
    return RefusalLimiter(
        RefusalSettings.model_validate({"burst": 3, "per_minute": 60.0, "max_addresses": 16} | settings),
        front_door="direct",
        clock=clock,
        wall_clock=Clock(NOW),
    )


def test_what_goes_beyond_the_bucket_is_counted_once() -> None:
    clock = Clock(0.0)
    refusals = limiter(clock)
    assert [refusals.take("10.0.0.1") for _ in range(5)] == [True, True, True, False, False]
    assert refusals.take("10.0.0.2"), "another address has its own bucket"
    clock.at = 30.0
    (event,) = refusals.drain()
    assert (event.peer, event.count, event.interval_s, event.front_door, event.at) == (
        "10.0.0.1",
        2,
        30.0,
        "direct",
        NOW,
    )
    assert refusals.drain() == []


def test_the_bucket_fills_again() -> None:
    clock = Clock(0.0)
    refusals = limiter(clock)
    for _ in range(4):
        refusals.take("10.0.0.1")
    clock.at = 1.0
    assert [refusals.take("10.0.0.1") for _ in range(2)] == [True, False]


def test_one_network_of_ipv6_is_one_address() -> None:
    """The attacker owns a /64 and sends each request from another address of it."""
    refusals = limiter(Clock(0.0))
    assert [refusals.take(f"2001:db8::{number:x}") for number in range(5)] == [True, True, True, False, False]
    assert refusals.take("2001:db8:0:1::1")
    assert [event.peer for event in refusals.drain()] == ["2001:db8::/64"]


def test_an_ipv4_address_in_ipv6_form_is_the_same_address() -> None:
    refusals = limiter(Clock(0.0))
    taken = [refusals.take(peer) for peer in ("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1", "::ffff:a00:1")]
    assert taken == [True, True, True, False]


def test_a_million_addresses_share_bounded_memory() -> None:
    """The attacker has a botnet: when the table is full, new addresses share one bucket."""
    refusals = limiter(Clock(0.0))
    allowed = sum(refusals.take(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(100_000))
    assert allowed == 16 + 3
    assert [(event.peer, event.count) for event in refusals.drain()] == [(EVERYBODY_ELSE, 100_000 - 19)]
    assert len(refusals._buckets) <= 17


def test_idle_addresses_are_forgotten() -> None:
    clock = Clock(0.0)
    refusals = limiter(clock)
    for number in range(16):
        refusals.take(f"10.0.0.{number}")
    clock.at = 60.0
    assert [refusals.take("10.9.9.9") for _ in range(3)] == [True, True, True]
    assert len(refusals._buckets) == 1


def test_an_address_that_is_no_address_is_cut() -> None:
    refusals = limiter(Clock(0.0))
    for _ in range(4):
        refusals.take("unix:" + "x" * 10_000)
    assert [len(event.peer) for event in refusals.drain()] == [64]
