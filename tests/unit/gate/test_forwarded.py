"""The last hop of a forwarded chain: what front doors write, and what a client invents before it."""

from __future__ import annotations

import pytest

from torchgate.gate.forwarded import last_hop


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (b"203.0.113.7:51234", "203.0.113.7"),
        (b"203.0.113.7", "203.0.113.7"),
        (b"[2001:db8::1]:443", "2001:db8::1"),
        (b"[2001:db8::1]", "2001:db8::1"),
        (b"[fe80::1%4]:443", "fe80::1"),
        (b"2001:DB8::1", "2001:db8::1"),
        (b"[::ffff:203.0.113.7]:1", "203.0.113.7"),
    ],
)
def test_addresses_are_read_as_front_doors_write_them(value: bytes, address: str) -> None:
    assert last_hop([value]) == address


@pytest.mark.identity_case(
    "front_door", "X-Forwarded-For with a chain of the client's own", "the last hop alone counts"
)
@pytest.mark.parametrize(
    "values",
    [
        [b"10.0.0.1, 203.0.113.7:51234"],
        [b"10.0.0.1,203.0.113.7"],
        [b"10.0.0.1", b"203.0.113.7"],
        [b"<script>, ,, 203.0.113.7"],
        [b", ".join([b"10.0.0.1"] * 1000) + b", 203.0.113.7:1"],
    ],
)
def test_what_the_client_wrote_before_the_last_comma_does_not_count(values: list[bytes]) -> None:
    """The attacker writes an address of its choice into the header, which the front door only appends to."""
    assert last_hop(values) == "203.0.113.7"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"unknown",
        b"10.0.0.1,",
        b"10.0.0.1.5",
        b"1.2.3.4:x",
        b"[1.2.3.4",
        b"_hidden",
        b"\xff",
        b"9" * 9999,
        b"010.1.1.1",
    ],
)
def test_what_is_no_address_is_none(value: bytes) -> None:
    assert last_hop([value]) is None


def test_nothing_is_none() -> None:
    assert last_hop([]) is None
