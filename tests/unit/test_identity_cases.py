"""The page of identity cases is read from marks; a mark that can't be read is a mistake and not a gap."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.identity_cases import IdentityCase, identity_cases


def test_marks_on_tests_classes_and_parameters_are_found(tmp_path: Path) -> None:
    (tmp_path / "test_doors.py").write_text(
        "import pytest\n"
        "SENT = [pytest.param(1, marks=pytest.mark.identity_case('bearer', 'in a table', '401'))]\n"
        "@pytest.mark.identity_case('windows', 'é | b', '401')\n"
        "@pytest.mark.identity_case('bearer', 'two '\n    'lines', '401')\n"
        "async def test_one():\n    pass\n"
        "class TestMany:\n"
        "    @pytest.mark.identity_case('api_key', 'in a class', 'counts')\n"
        "    def test_two(self):\n        pass\n",
        encoding="utf-8",
    )
    assert identity_cases(tmp_path) == [
        IdentityCase("bearer", "in a table", "401", "test_doors.py", ""),
        IdentityCase("bearer", "two lines", "401", "test_doors.py", "test_one"),
        IdentityCase("API key", "in a class", "counts", "test_doors.py", "test_two"),
        IdentityCase("Windows", "é | b", "401", "test_doors.py", "test_one"),
    ]


@pytest.mark.parametrize("arguments", ["'bearer', 'sent'", "'bearer', SENT, '401'", "'', 'sent', '401'"])
def test_a_mark_that_cannot_be_read_is_a_mistake(tmp_path: Path, arguments: str) -> None:
    source = f"@pytest.mark.identity_case({arguments})\ndef test_one():\n    pass\n"
    (tmp_path / "test_doors.py").write_text(source, encoding="utf-8")
    with pytest.raises(ValueError, match=r"test_doors\.py:1: "):
        identity_cases(tmp_path)
