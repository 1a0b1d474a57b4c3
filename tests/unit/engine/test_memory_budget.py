"""The memory budget: counted by what models say, refused with the numbers."""

from __future__ import annotations

import pytest

from torchgate.contract.decision import ModelRef
from torchgate.engine.memory_budget import MemoryBudget, shown_bytes

GIB = 1 << 30


def test_without_a_limit_everything_fits():
    budget = MemoryBudget(0)
    budget.take(1, ModelRef("a", "1"), 1 << 60)
    assert budget.refusal(1 << 60) == ""


def test_what_does_not_fit_is_refused_with_who_has_the_rest():
    budget = MemoryBudget(10 * GIB)
    budget.take(1, ModelRef("small", "1"), GIB)
    budget.take(2, ModelRef("large", "3"), 6 * GIB)
    budget.take(3, ModelRef("large", "3"), GIB)
    assert budget.refusal(2 * GIB) == ""
    assert budget.refusal(3 * GIB) == (
        "it needs 3 GiB, and of 10 GiB (engine.memory_bytes) 8 GiB are taken: large:3 7 GiB, small:1 1 GiB"
    )
    assert budget.refusal(3 * GIB, freed=6 * GIB) == ""


def test_what_is_given_back_is_free_once():
    budget = MemoryBudget(2 * GIB)
    budget.take(1, ModelRef("a", "1"), 2 * GIB)
    budget.give_back(1)
    budget.give_back(1)
    assert budget.held_bytes == 0
    assert budget.refusal(2 * GIB) == ""


def test_of_many_the_greatest_are_named():
    budget = MemoryBudget(1)
    for number in range(8):
        budget.take(number, ModelRef(f"m{number}", "1"), number + 1)
    assert budget.refusal(1).endswith("m7:1 8 bytes, m6:1 7 bytes, m5:1 6 bytes, m4:1 5 bytes, m3:1 4 bytes …")


@pytest.mark.parametrize(
    ("length", "shown"), [(1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 20, "5 MiB"), (24_000_000_000, "22.4 GiB")]
)
def test_bytes_are_shown_with_three_digits(length: int, shown: str):
    assert shown_bytes(length) == shown
