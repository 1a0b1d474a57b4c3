"""Arrays of an application become the bytes that the model is given, or are refused; answers become numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from tests.fakes.in_process_engine import describe_model

from torchgate.contract.errors import InvalidRequest
from torchgate.contract.inference import InferenceResponse, Timing
from torchgate.contract.tensors import PlacedTensor, TensorSpec
from torchgate.gate.caller_tensors import decode_outputs, encode_inputs

ODD = numpy.array([[1.0, 1e-40], [numpy.inf, numpy.nan]])


def _one(datatype: str, values: Any, shape: tuple[int, ...] = (2,), max_batch_size: int = 8) -> bytes:
    description = describe_model("m", (TensorSpec("x", datatype, shape),), (), max_batch_size=max_batch_size)
    encoded, _, length = encode_inputs({"x": values}, description)
    assert len(encoded[0].content) == length == encoded[0].placed.length
    return encoded[0].content


@pytest.mark.parametrize(
    ("datatype", "values", "content"),
    [
        ("FP32", [[1, 2]], numpy.array([1, 2], "<f4").tobytes()),
        ("FP32", numpy.array([[1, 2]], ">f8"), numpy.array([1, 2], "<f4").tobytes()),
        ("FP32", ((1.5, 2),), numpy.array([1.5, 2], "<f4").tobytes()),
        ("FP64", ODD, ODD.tobytes()),
        ("FP16", [[1, 65504]], numpy.array([1, 65504], "<f2").tobytes()),
        ("INT8", [[-128, 127]], b"\x80\x7f"),
        ("UINT64", [[0, 2**64 - 1]], b"\0" * 8 + b"\xff" * 8),
        ("BOOL", [[True, False]], b"\1\0"),
        ("BYTES", [["a\0", b"\xff\0"]], b"\2\0\0\0a\0\2\0\0\0\xff\0"),
        ("BYTES", numpy.array([["a", "é"]]), b"\1\0\0\0a\2\0\0\0\xc3\xa9"),
        ("FP32", numpy.arange(4)[::2].reshape(1, 2), numpy.array([0, 2], "<f4").tobytes()),
    ],
)
def test_what_fits_is_taken_bit_by_bit(datatype: str, values: Any, content: bytes):
    """Little-endian, row-major, whatever the array was."""
    assert _one(datatype, values) == content


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("FP32", [[1, "2"]]), ("FP32", [[1, 1e39]]), ("FP16", [[1, 65520]]), ("FP32", [[True, False]]),
        ("INT8", [[1.0, 2.0]]), ("INT8", [[128, 0]]), ("UINT8", [[-1, 0]]), ("BOOL", [[0, 1]]), ("INT64", [[2**63, 0]]),
        ("FP32", [1, 2]), ("FP32", [[1, 2, 3]]), ("FP32", [[1, 2], [3]]), ("FP32", [[[1, 2]]]), ("FP32", 1),
        ("FP32", None), ("FP32", []), ("FP32", [[1j, 2]]), ("FP32", {"a": 1}), ("FP32", [[None, 1]]),
        ("FP32", numpy.zeros((9, 2))), ("BYTES", [[1, 2]]), ("BYTES", [["a", None]]), ("BYTES", [["\ud800", ""]]),
        ("BYTES", [["a", ["b"]]]), ("BYTES", "ab"), ("BF16", [[1, 1e39]]), ("BF16", [["a", "b"]]),
        ("UINT64", [[0, 2**64]]), ("FP32", [[10**400, 1]]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_never_cut(datatype: str, values: Any):
    """With a sentence for the caller."""
    with pytest.raises(InvalidRequest):
        _one(datatype, values)


def test_bf16_is_rounded_as_torch_does():
    """To the nearest, ties to even; NaN stays one and infinities, too. Source: torch 2.13 on the same values."""
    values = [[1.0, 1.00390625], [1.01171875, -2.5], [numpy.inf, numpy.nan], [1e-40, 3.3895e38]]
    got = numpy.frombuffer(_one("BF16", numpy.array(values, "f4")), "<u2")
    assert [hex(value) for value in got] == [
        "0x3f80", "0x3f80", "0x3f82", "0xc020", "0x7f80", "0x7fc0", "0x1", "0x7f7f",
    ]  # fmt: skip


def test_inputs_are_laid_out_in_the_order_of_the_signature():
    """Each at a multiple of 64 bytes, the same rows in all."""
    description = describe_model("m", (TensorSpec("a", "INT8", (3,)), TensorSpec("b", "FP32", (1,))), ())
    encoded, rows, length = encode_inputs({"b": [[1], [2]], "a": [[1, 2, 3]] * 2}, description)
    assert [(tensor.placed.name, tensor.placed.offset, tensor.placed.length) for tensor in encoded] == [
        ("a", 0, 6), ("b", 64, 8),
    ]  # fmt: skip
    assert (rows, length) == (2, 72)
    with pytest.raises(InvalidRequest, match="rows"):
        encode_inputs({"a": [[1, 2, 3]], "b": [[1], [2]]}, description)


def test_a_model_without_batches_takes_whole_shapes():
    """One row, whatever the shape."""
    assert len(_one("FP32", [1, 2], max_batch_size=0)) == 8
    assert _one("FP32", [], shape=(-1,), max_batch_size=0) == b""


def test_answers_are_arrays_of_their_own_memory():
    """What the engine takes back after changes nothing in them."""
    text = b"\1\0\0\0a\0\0\0\0"
    memory = bytearray(numpy.array([1, 2], "<f4").tobytes() + b"\x80\x3f\x20\xc0" + text)
    outputs = (
        PlacedTensor("y", "FP32", (2, 1), 0, 8),
        PlacedTensor("z", "BF16", (2,), 8, 4),
        PlacedTensor("t", "BYTES", (1, 2), 12, len(text)),
    )
    answer = decode_outputs(InferenceResponse(outputs, memoryview(memory), Timing()))
    memory[:] = bytes(len(memory))
    assert answer["y"].tolist() == [[1.0], [2.0]]
    assert (answer["z"].tolist(), answer["z"].dtype) == ([1.0, -2.5], numpy.float32)
    assert answer["t"].tolist() == [[b"a", b""]]
    answer["y"][0] = 5  # writable
