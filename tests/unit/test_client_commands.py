"""How rows as a person writes them become an input of the protocol, and outputs rows again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchgate import client_commands
from torchgate.cli import main
from torchgate.client_commands import InputError, limit_line, nested, tensor


def _metadata(shape: list[int], datatype: str = "FP32") -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": shape}


@pytest.mark.parametrize(
    ("rows", "shape", "wanted", "data"),
    [
        ([[1, 2], [3, 4]], [-1, 2], [2, 2], [1, 2, 3, 4]),
        ([1, 2, 3], [-1, 1], [3, 1], [1, 2, 3]),
        ([1, 2, 3, 4], [-1, 2], [2, 2], [1, 2, 3, 4]),
        (5, [-1, 1], [1, 1], [5]),
        ("a text", [-1, 1], [1, 1], ["a text"]),
        (["a", "b"], [-1, 1], [2, 1], ["a", "b"]),
        ([1, 2, 3], [-1], [3], [1, 2, 3]),
        ([], [-1], [0], []),
        ([[[1], [2]]], [-1, -1, 1], [1, 2, 1], [1, 2]),
    ],
)
def test_rows_get_the_shape_that_the_model_takes(rows: Any, shape: list[int], wanted: list[int], data: list[Any]):
    assert tensor("x", rows, _metadata(shape)) == {"name": "x", "datatype": "FP32", "shape": wanted, "data": data}


@pytest.mark.parametrize(
    ("rows", "shape"),
    [
        ([[1, 2], [3]], [-1, 2]),  # ragged
        ([1, 2, 3], [-1, 2]),  # no whole rows
        ([[1, 2, 3]], [-1, 2]),  # other rows
        ([1], [-1, -1]),  # what a row is, nobody said
        ([], [-1, 2]),
    ],
)
def test_rows_that_fit_no_shape_are_refused_in_a_sentence(rows: Any, shape: list[int]):
    with pytest.raises(InputError, match="input 'x'"):
        tensor("x", rows, _metadata(shape))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_flat_and_nested_are_inverse(shape: list[int]):
    count = 1
    for length in shape:
        count *= length
    elements = list(range(count))
    rows = nested(elements, shape)
    assert tensor("x", rows, _metadata([-1] * len(shape)))["data"] == elements
    assert tensor("x", rows, _metadata([-1] * len(shape)))["shape"] == shape


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        (
            {"limit": "memory_bytes", "value": 1 << 30, "enforced_by": "cgroup", "note": ""},
            "memory_bytes 1073741824 by cgroup",
        ),
        (
            {"limit": "processors", "value": [0, 2], "enforced_by": "affinity", "note": "may undo it"},
            "processors 0,2 by affinity (may undo it)",
        ),
        (
            {"limit": "processes", "value": 4, "enforced_by": None, "note": "no group"},
            "processes 4 NOT ENFORCED (no group)",
        ),
        ({}, "? None NOT ENFORCED"),
    ],
)
def test_a_limit_is_one_line_that_says_by_what_it_is_held(limit: dict[str, Any], line: str):
    assert limit_line(limit) == line


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"[1" * 600, "holds more than 1,000 bytes"), (b"\xff", "is not UTF-8 text: byte 0"), (b"[1", "holds no JSON")],
)
def test_a_file_that_is_no_input_is_told_without_the_words_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes, said: str
):
    monkeypatch.setattr(client_commands, "_MAX_INPUT_BYTES", 1000)
    (tmp_path / "rows").write_bytes(content)
    command = ["predict", "m", "--config", str(tmp_path), "--url", "http://127.0.0.1:9"]
    assert main([*command, f"x=@{tmp_path / 'rows'}"]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "Errno" not in told
    assert main([*command, f"x=@{tmp_path}"]) == 1
    assert "Errno" not in capsys.readouterr().err
