"""The lock as a file: the same installation is the same text, and what is no lock is never taken for one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.recorded_installation import recorded_facts

from torchgate.contract.survey import Facts, Wheel
from torchgate.engine.pin.lock import Lock, LockRefused, lock_of, lock_text, parse_lock, read_lock
from torchgate.engine.pin.toml_text import toml_text

ANSWERS = {"conv": (1.5, -2.0), "matmul": (0.0, 3.25)}
MODELS = {"digits:1": "sha256:" + "d" * 64, "größe:2": "sha256:" + "e" * 64}


def lock(name: str = "h200_twice") -> Lock:
    return lock_of(recorded_facts(name), {"cpu": ANSWERS, "cuda:0": ANSWERS}, MODELS)


@pytest.mark.parametrize("name", ["h200_twice", "rtx_wddm", "no_card"])
def test_what_is_written_is_what_is_read(name: str):
    assert parse_lock(lock_text(lock(name)).encode(), "x") == lock(name)


def test_the_same_facts_in_another_order_are_the_same_text():
    facts = recorded_facts("h200")
    turned = msgspec.structs.replace(facts, wheels=dict(reversed(facts.wheels.items())))
    one = lock_of(facts, {"cpu": ANSWERS, "cuda:0": ANSWERS}, MODELS)
    other = lock_of(turned, {"cuda:0": ANSWERS, "cpu": ANSWERS}, dict(reversed(MODELS.items())))
    assert lock_text(one) == lock_text(other)


def test_a_wheel_and_a_model_are_a_line_each_for_whoever_reviews():
    lines = lock_text(lock()).splitlines()
    assert f'numpy = {{ record = "sha256:{"1" * 64}", version = "2.3.1" }}' in lines
    assert f'"digits:1" = "sha256:{"d" * 64}"' in lines


def test_nothing_of_a_place_or_a_time_or_a_serial_number_is_in_it():
    text = lock_text(lock())
    assert "GPU-" not in text
    assert "6f1c2d3e" not in text
    assert str(Path.cwd()) not in text


texts = st.text(st.characters(exclude_categories=("Cs",)))
values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_any_values_written_as_toml_are_read_as_themselves(table: dict[str, object]):
    assert tomllib.loads(toml_text(table)) == table


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("format = 1", "format = 2"), "has format 2, and this Torchgate reads format 1"),
        (("format = 1\n", ""), "has format no number"),
        (("cuda_floor = 13000", 'cuda_floor = "13.0"'), "Expected `int`, got `str` - at `$.driver.cuda_floor`"),
        (('"580.95.05"', '"newest"'), "driver.release_floor is 'newest', and a release is like 580.95.05"),
        (("[torch]", "[torch]\nother = 1"), "is no lock"),
        (("[driver]", "[driver]\nrelease = 1"), "Object contains unknown field `release`"),
        (("1.5", "nan"), "an answer that is no finite number proves nothing"),
        (("tolerance = 0.001", "tolerance = 1e9"), "is no lock"),
        (('"sha256:dddd', '"sha1:dddd'), "is no lock"),
        (("[torch]", "[torch"), "is no lock"),
    ],
)
def test_what_is_no_lock_is_refused_with_a_reason_and_what_to_do(change: tuple[str, str], words: str):
    text = lock_text(lock())
    assert change[0] in text
    with pytest.raises(LockRefused) as refused:
        parse_lock(text.replace(*change).encode(), "torchgate.lock")
    assert words in str(refused.value)
    assert "torchgate pin" in str(refused.value)


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else_is_raised(content: bytes):
    with pytest.raises(LockRefused):
        parse_lock(content, "x")


def test_no_file_is_no_lock_and_a_folder_is_a_mistake(tmp_path: Path):
    assert read_lock(tmp_path / "torchgate.lock") is None
    (tmp_path / "torchgate.lock").mkdir()
    with pytest.raises(LockRefused, match="it is a folder, and no file"):
        read_lock(tmp_path / "torchgate.lock")


def test_a_file_without_end_is_refused(tmp_path: Path):
    (tmp_path / "torchgate.lock").write_bytes(b"#" * ((4 << 20) + 1))
    with pytest.raises(LockRefused, match="it has 4,194,305 bytes, and may have 4,194,304"):
        read_lock(tmp_path / "torchgate.lock")


def test_the_driver_that_was_seen_is_the_floor():
    facts: Facts = recorded_facts("h200")
    assert lock_of(facts, {}, {}).driver.release_floor == facts.driver_release == "580.95.05"
    assert lock_of(facts, {}, {}).wheels["ruamel-yaml"] == Wheel("0.18", "")


@pytest.mark.parametrize("content", [b"format = " + b"9" * 6000, b"format = 0x" + b"f" * 6000, b"a = " + b"[" * 20_000])
def test_what_can_not_be_counted_or_followed_is_no_lock(content: bytes):
    with pytest.raises(LockRefused, match="more digits than can be read, or it is nested too deeply"):
        parse_lock(content, "x")
