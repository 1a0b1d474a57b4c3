"""Recorded machines beside the lock of another: what differs is named, with what was seen, locked, and what to do."""

from __future__ import annotations

import functools
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.recorded_installation import recorded_facts

from torchgate.contract.survey import CANARY_OPERATIONS
from torchgate.engine.pin.compare import mismatches, model_mismatch
from torchgate.engine.pin.lock import Lock, lock_of
from torchgate.engine.pin.surveyor import Seen

ANSWERS = dict.fromkeys(CANARY_OPERATIONS, (52.5, -129.25, 3.0))
DIGEST = "sha256:" + "d" * 64


@functools.cache
def lock(name: str, *devices: str) -> Lock:
    return lock_of(recorded_facts(name), dict.fromkeys(("cpu", *devices), ANSWERS), {"digits:1": DIGEST})


def differing(here: str, locked: str = "h200", *, failures: dict[str, str] | None = None) -> dict[str, str]:
    """Fact → what was seen, on another machine than the one that was locked."""
    facts = recorded_facts(here)
    computed = {device: ANSWERS for device in ("cpu", "cuda:0") if device not in (failures or {})}
    seen = Seen(facts, computed, failures or {})
    found = mismatches(lock(locked, "cuda:0"), lock_of(facts, computed, {}), seen.troubles)
    assert all(one.remedy for one in found)
    return {one.fact: one.seen for one in found}


@pytest.mark.parametrize("name", ["h200", "h200_newer_driver", "rtx_wddm", "rtx_mcdm"])
def test_a_machine_is_what_its_own_lock_says(name: str):
    assert differing(name, name) == {}


def test_a_newer_driver_is_fine():
    assert differing("h200_newer_driver", "h200") == {}


def test_an_older_driver_is_not():
    assert differing("h200_older_driver") == {"driver.release_floor": "580.65.06"}


def test_a_driver_too_old_for_torch_is_told_with_torchs_own_words():
    found = differing("h200_ancient_driver", failures={"cuda:0": "there is no such device"})
    assert found["driver.cuda_floor"].startswith(
        "12040 (CUDA initialization: The NVIDIA driver on your system is too old"
    )
    assert found["devices.0.name"].startswith("nothing (CUDA initialization: The NVIDIA driver")
    assert found["canary.cuda:0.matmul"] == "nothing (there is no such device)"
    assert "torch.version" not in found


def test_a_torch_without_cuda_is_told():
    found = differing("h200_cpu_torch", failures={"cuda:0": "there is no such device"})
    assert found["torch.version"] == "2.11.0+cpu"
    assert found["torch.cuda"] == found["devices.0.name"] == found["torch.cudnn"].replace("0", "nothing") == "nothing"


def test_a_torch_of_another_cuda_is_told():
    assert set(differing("h200_other_torch")) == {
        "torch.version", "torch.cuda", "torch.cudnn", "torch.architectures"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("h200_no_driver", "NVML does not start: NVML Shared Library Not Found. CUDA initialization: Found no NVIDIA"),
        ("h200_driver_not_loaded", "NVML does not start: Driver/library version mismatch"),
    ],
)
def test_a_driver_that_says_nothing_is_no_driver(name: str, words: str):
    found = differing(name, failures={"cuda:0": "there is no such device"})
    assert found["driver.release_floor"].startswith(f"nothing ({words}")


def test_another_card_and_a_slice_of_one_are_told():
    assert differing("h100") == {"devices.0.name": "NVIDIA H100 80GB HBM3", "devices.0.memory_mib": "81089"}
    assert differing("h200_mig")["devices.0.name"] == "NVIDIA H200 MIG 1g.18gb"


def test_one_card_more_or_less_is_told():
    assert differing("h200_twice")["devices.1.name"] == "NVIDIA H200"
    assert differing("h200", "h200_twice")["devices.1.name"] == "nothing"


@pytest.mark.parametrize(("here", "model"), [("rtx_wddm", "WDDM"), ("rtx_tcc", "TCC")])
def test_another_driver_model_is_told(here: str, model: str):
    assert differing(here, "rtx_mcdm") == {"devices.0.driver_model": model}


def test_a_device_that_died_while_it_computed_is_told():
    why = "the throw-away process ended while it was computing the canary on cuda:0"
    found = differing("h200", failures={"cuda:0": why})
    assert found == {f"canary.cuda:0.{operation}": f"nothing ({why})" for operation in CANARY_OPERATIONS}


@pytest.mark.parametrize(
    "answer", [(52.5, -129.25), (52.5, -129.25, 3.2), (52.5, -129.25, math.nan), (52.5, math.inf, 3)]
)
def test_a_device_that_computes_otherwise_is_told(answer: tuple[float, ...]):
    facts = recorded_facts("h200")
    wrong = {"cpu": ANSWERS, "cuda:0": ANSWERS | {"conv": answer}}
    (found,) = mismatches(lock("h200", "cuda:0"), lock_of(facts, wrong, {}))
    assert found.fact == "canary.cuda:0.conv"


def test_rounding_is_no_difference():
    rounded = {operation: tuple(value * 1.0001 for value in values) for operation, values in ANSWERS.items()}
    seen = lock_of(recorded_facts("h200"), {"cpu": rounded, "cuda:0": ANSWERS}, {})
    assert mismatches(lock("h200", "cuda:0"), seen) == ()


def test_a_model_is_what_is_locked_or_is_told():
    pinned = lock("h200")
    assert model_mismatch(pinned, "digits:1", DIGEST) is None
    other = model_mismatch(pinned, "digits:1", "sha256:" + "e" * 64)
    assert other is not None
    assert other.locked == DIGEST
    unlocked, gone = model_mismatch(pinned, "digits:2", DIGEST), model_mismatch(pinned, "digits:1", "")
    assert unlocked is not None
    assert gone is not None
    assert (unlocked.locked, gone.seen) == ("nothing", "nothing")


def leaves(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key], (*place, key))]
    if isinstance(value, list | tuple) and place[-1] != "architectures":
        return [leaf for index, inner in enumerate(value) for leaf in leaves(inner, (*place, index))]
    return [place]


def changed(value: Any, place: tuple[Any, ...], draw: st.DrawFn) -> Any:
    """The same values but for one, which is another; of a floor, a lower one."""
    if place:
        key = place[0]
        if isinstance(value, dict):
            return value | {key: changed(value[key], place[1:], draw)}
        return [changed(inner, place[1:], draw) if index == key else inner for index, inner in enumerate(value)]
    if isinstance(value, str):
        return draw(st.text(st.characters(exclude_categories=("Cs",)), max_size=20).filter(lambda text: text != value))
    if isinstance(value, list | tuple):
        return draw(st.lists(st.sampled_from(["sm_50", "sm_90", "sm_120"])).filter(lambda found: found != list(value)))
    if isinstance(value, int):
        return draw(st.integers(0, 2 * value + 2).filter(lambda number: abs(number - value) > value * 0.05))
    return draw(st.floats().filter(lambda number: not abs(number - value) <= 1))


PLACES = [
    place
    for place in leaves(msgspec.to_builtins(lock("h200_twice", "cuda:0", "cuda:1")))
    if place not in [("format",), ("canary", "tolerance"), ("models", "digits:1")] and place[0] != "driver"
]


@st.composite
def one_change(draw: st.DrawFn) -> tuple[str, Lock]:
    pinned = lock("h200_twice", "cuda:0", "cuda:1")
    place = draw(st.sampled_from(PLACES))
    values = changed(msgspec.to_builtins(pinned), place, draw)
    return ".".join(str(part) for part in place if part != "devices" or place[0] == "devices"), convert(values)


def convert(values: Any) -> Lock:
    return msgspec.convert(values, Lock, strict=False)


@given(one_change())
def test_any_single_changed_fact_is_found_and_no_other_is_named(change: tuple[str, Lock]):
    place, seen = change
    found = mismatches(lock("h200_twice", "cuda:0", "cuda:1"), seen)
    assert len(found) == 1
    assert place.startswith(found[0].fact)


@given(st.sampled_from(sorted({place[:2] for place in PLACES if place[0] in ("wheels", "canary")})), st.booleans())
def test_a_wheel_or_a_device_that_came_or_went_is_found(place: tuple[str, str], came: bool):
    pinned = lock("h200_twice", "cuda:0", "cuda:1")
    values = msgspec.to_builtins(pinned)
    table = values["canary"]["devices"] if place[0] == "canary" else values["wheels"]
    del table[min(table)]
    fewer = convert(values)
    assert mismatches(fewer, pinned) if came else mismatches(pinned, fewer)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=3), st.lists(st.integers(0, 999), min_size=1, max_size=3))
def test_a_driver_is_fine_exactly_where_no_number_of_it_is_below_the_floors(floor: list[int], release: list[int]):
    pinned = lock("h200", "cuda:0")
    lowest, here = (".".join(map(str, numbers)) for numbers in (floor, release))
    before = msgspec.structs.replace(pinned, driver=msgspec.structs.replace(pinned.driver, release_floor=lowest))
    now = msgspec.structs.replace(pinned, driver=msgspec.structs.replace(pinned.driver, release_floor=here))
    assert (mismatches(before, now) == ()) == (release >= floor)
