"""A count is told in the number that its noun has."""

from __future__ import annotations

import pytest

from torchgate.contract.counted import counted


@pytest.mark.parametrize(("count", "told"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (11, "11 files")])
def test_one_is_told_without_an_s(count: int, told: str):
    assert counted(count, "file") == told
