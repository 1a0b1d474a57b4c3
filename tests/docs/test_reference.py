"""The reference says what the code says."""

from __future__ import annotations

import pytest
from tools.reference import FOLDER, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str):
    """Otherwise run `python -m tools.reference`."""
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name]()
