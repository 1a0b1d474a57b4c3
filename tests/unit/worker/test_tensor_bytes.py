import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchgate.contract.tensors import PlacedTensor
from torchgate.worker.tensor_bytes import TORCH_TYPES, raw_view, read_bytes, read_tensor, write_bytes


@pytest.mark.parametrize("datatype", sorted(TORCH_TYPES))
@pytest.mark.parametrize("offset", [0, 64, 3])
def test_every_datatype_is_read_as_it_was_written_aligned_or_not(datatype, offset):
    value = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(TORCH_TYPES[datatype])
    raw = bytes(raw_view(value))
    memory = memoryview(bytearray(offset) + bytearray(raw))
    read = read_tensor(memory, PlacedTensor("x", datatype, (2, 3), offset, len(raw)))
    assert read.dtype == value.dtype
    assert read.to(torch.float64).equal(value.to(torch.float64))


def test_a_tensor_without_elements_has_its_shape():
    assert read_tensor(memoryview(bytearray(8)), PlacedTensor("x", "FP32", (0, 4), 0, 0)).shape == (0, 4)


def test_a_bool_byte_of_two_is_true():
    """A caller can send any byte; a torch.bool over 2 would be undefined behaviour."""
    read = read_tensor(memoryview(bytearray([0, 1, 2, 255])), PlacedTensor("x", "BOOL", (4,), 0, 4))
    assert raw_view(read).tolist() == [0, 1, 1, 1]


def test_a_tensor_that_is_not_contiguous_is_written_row_by_row():
    value = torch.arange(6, dtype=torch.int16).reshape(2, 3).t()
    assert np.frombuffer(raw_view(value), dtype="<i2").tolist() == [0, 3, 1, 4, 2, 5]


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=12))
def test_texts_come_back_as_they_went(elements):
    data = write_bytes(elements)
    placed = PlacedTensor("t", "BYTES", (len(elements), 1), 0, len(data))
    assert read_bytes(memoryview(data), placed).reshape(-1).tolist() == elements


@given(data=st.binary(max_size=60), count=st.integers(0, 5))
def test_any_bytes_are_elements_or_a_value_error(data, count):
    placed = PlacedTensor("t", "BYTES", (count,), 0, len(data))
    try:
        elements = read_bytes(memoryview(data), placed)
    except ValueError:
        return
    assert write_bytes(list(elements)) == data
