"""The canary's answers are the same on every sound device, and a device that is none is told."""

from __future__ import annotations

import pytest
import torch

from torchgate.contract.survey import CANARY_OPERATIONS, CanaryFailed, CanaryValues
from torchgate.worker.canary import canary


def test_the_processor_answers_what_arithmetic_says():
    """The matrix product by whole numbers alone, which know no rounding: right on every device for ever."""
    left, right = whole_numbers(64, 96, 7), whole_numbers(96, 80, 11)
    flat = [sum(a * b for a, b in zip(row, column, strict=True)) for row in left for column in zip(*right, strict=True)]
    weighed = [value * (place % 7 + 1) for place, value in enumerate(flat)]
    part = len(weighed) // 8
    sums = tuple(float(f"{sum(weighed[at : at + part]) / 256:.6g}") for at in range(0, len(weighed), part))
    answer = canary("cpu")
    assert isinstance(answer, CanaryValues)
    assert tuple(sorted(answer.values)) == CANARY_OPERATIONS
    assert answer.values["matmul"] == sums


def whole_numbers(rows: int, columns: int, step: int) -> list[list[int]]:
    """Sixteen times what the canary multiplies."""
    return [[(row * columns + column) * step % 31 - 15 for column in range(columns)] for row in range(rows)]


def test_it_answers_the_same_twice_and_with_any_number_of_threads():
    threads = torch.get_num_threads()
    first = canary("cpu")
    torch.set_num_threads(1)
    try:
        assert canary("cpu") == first
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: there is none")
def test_a_gpu_answers_what_the_processor_answers():
    here, there = canary("cpu"), canary("cuda:0")
    assert isinstance(here, CanaryValues)
    assert isinstance(there, CanaryValues)
    for operation, values in here.values.items():
        assert there.values[operation] == pytest.approx(values, rel=1e-3, abs=1e-3 * max(map(abs, values)))


@pytest.mark.linux("torch says it by a C++ exception, which a torch of Windows does not catch under Wine")
@pytest.mark.parametrize("name", ["cuda:99", "cuda:x", "nonsense"])
def test_a_device_that_is_none_is_told_in_one_line(name: str):
    answer = canary(name)
    assert isinstance(answer, CanaryFailed)
    assert answer.device == name
    assert answer.reason
    assert "\n" not in answer.reason
