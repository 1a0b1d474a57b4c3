"""golden.json: what counts as the right answer, and what the file may say."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from tests.rigs.engine_questions import catalog_of

from torchgate.contract.back_end import Artifact, Batch, BatchAnswer, BatchLost, ItemAnswer
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import ModelError, TorchgateError
from torchgate.contract.tensors import PlacedTensor, Signature, TensorSpec
from torchgate.engine.golden import GoldenMistake, golden_mistake, read_golden


class Memory:
    """A slot that says when it was given back."""

    def __init__(self, data: bytes) -> None:
        self.view = memoryview(bytearray(data))
        self.place = None
        self.is_released = False

    def release(self) -> None:
        self.is_released = True


class Answers:
    """As much of a back end as golden.json needs: one answer, whatever is asked."""

    def __init__(self, answer: ItemAnswer | TorchgateError | BatchLost) -> None:
        self.answer = answer
        self.slots: list[Memory] = []
        self.asked: list[bytes] = []

    def reserve(self, activation: int, length: int) -> Memory:
        self.slots.append(Memory(b"\xaa" * length))
        return self.slots[-1]

    async def run(self, batch: Batch, *, quarantined: bool = False) -> BatchAnswer:
        if isinstance(self.answer, BatchLost):
            raise self.answer
        (item,) = batch.items
        for placed in item.request.inputs:
            self.asked.append(bytes(item.slot.view[placed.offset : placed.offset + placed.length]))
        return BatchAnswer((self.answer,), 0.0, 0.0, 0.0, "fake")


def artifact(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], max_batch_size: int = 4) -> Artifact:
    found = catalog_of("owner").entries[ModelRef("owner", "1")].artifact
    values = {name: getattr(found, name) for name in found.__struct_fields__}
    changes = {"signature": Signature(inputs, outputs), "max_batch_size": max_batch_size}
    return Artifact(**{**values, **changes})


FLOAT = artifact((TensorSpec("x", "FP32", (2,)),), (TensorSpec("y", "FP32", (2,)),))
X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [[1.5, -4]]}
Y = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [3, -8]}


def floats(*values: float) -> ItemAnswer:
    data = struct.pack(f"<{len(values)}f", *values)
    return ItemAnswer((PlacedTensor("y", "FP32", (1, len(values)), 0, len(data)),), Memory(data))


Outcome = ItemAnswer | TorchgateError | BatchLost


async def examined(folder: Path, content: Any, answer: Outcome, of: Artifact = FLOAT) -> str:
    """What is wrong, of a file with this content and a model that answers so."""
    (folder / "golden.json").write_text(json.dumps(content), encoding="utf-8")
    golden = read_golden(folder)
    assert golden is not None
    back_end = Answers(answer)
    said = await golden_mistake(golden, of, back_end)  # type: ignore[arg-type]
    assert all(slot.is_released for slot in back_end.slots)
    if isinstance(answer, ItemAnswer) and back_end.asked:
        assert answer.memory.is_released  # type: ignore[attr-defined]
    return said


def test_a_version_without_the_file_is_not_asked(tmp_path: Path):
    assert read_golden(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "{}", '{"inputs": 1, "outputs": []}', '{"inputs": [], "outputs": [], "more": 1}'],
)
def test_a_file_that_is_something_else_says_so(tmp_path: Path, text: str):
    (tmp_path / "golden.json").write_text(text, encoding="utf-8")
    with pytest.raises(GoldenMistake, match=r"golden\.json is not what it must be"):
        read_golden(tmp_path)


@pytest.mark.parametrize("answer", [(3.0, -8.0), (3.0002, -8.0005), (3.0, -8.0008)])
async def test_numbers_may_differ_by_the_tolerance(tmp_path: Path, answer: tuple[float, float]):
    assert await examined(tmp_path, {"inputs": [X], "outputs": [Y]}, floats(*answer)) == ""


@pytest.mark.parametrize("answer", [(3.001, -8.0), (3.0, float("nan")), (float("inf"), -8.0), (-8.0, 3.0)])
async def test_numbers_that_differ_by_more_are_named(tmp_path: Path, answer: tuple[float, float]):
    said = await examined(tmp_path, {"inputs": [X], "outputs": [Y]}, floats(*answer))
    assert "output 'y' has" in said
    assert "allowed is" in said


async def test_tolerances_can_be_said(tmp_path: Path):
    content = {"inputs": [X], "outputs": [Y], "absolute_tolerance": 0.5, "relative_tolerance": 0}
    assert await examined(tmp_path, content, floats(3.4, -8.4)) == ""
    assert await examined(tmp_path, content, floats(3.6, -8.4)) != ""


async def test_null_stands_for_what_is_not_a_number(tmp_path: Path):
    content = {"inputs": [X], "outputs": [{**Y, "data": [None, -8]}]}
    assert await examined(tmp_path, content, floats(float("nan"), -8.0)) == ""
    assert await examined(tmp_path, content, floats(3.0, -8.0)) != ""


async def test_another_shape_is_another_answer(tmp_path: Path):
    said = await examined(tmp_path, {"inputs": [X], "outputs": [Y]}, floats(3.0, -8.0, 1.0))
    assert "has shape [1, 3] instead of [1, 2]" in said


async def test_texts_and_whole_numbers_must_be_equal(tmp_path: Path):
    texts = artifact((TensorSpec("t", "BYTES", (1,)),), (TensorSpec("n", "INT64", (1,)),))
    content = {
        "inputs": [{"name": "t", "datatype": "BYTES", "shape": [2, 1], "data": [["grün"], ["b"]]}],
        "outputs": [{"name": "n", "datatype": "INT64", "shape": [2, 1], "data": [2**62 + 1, -1]}],
    }
    data = struct.pack("<2q", 2**62 + 1, -1)
    right = ItemAnswer((PlacedTensor("n", "INT64", (2, 1), 0, 16),), Memory(data))
    assert await examined(tmp_path, content, right, texts) == ""
    wrong = ItemAnswer((PlacedTensor("n", "INT64", (2, 1), 0, 16),), Memory(struct.pack("<2q", 2**62, -1)))
    assert "output 'n' is another" in await examined(tmp_path, content, wrong, texts)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ModelError("It failed.", detail="ValueError: no weights"), "was not answered: ValueError: no weights"),
        (BatchLost(hung=True, worker="w"), "took longer than limits.max_run_s"),
        (BatchLost(hung=False, worker="w"), "ended its worker"),
    ],
)
async def test_a_model_that_fails_on_it_says_how(tmp_path: Path, answer: TorchgateError | BatchLost, said: str):
    assert said in await examined(tmp_path, {"inputs": [X], "outputs": [Y]}, answer)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"inputs": [], "outputs": [Y]}, "each input once: x"),
        ({"inputs": [X, X], "outputs": [Y]}, "each input once: x"),
        ({"inputs": [{**X, "name": "z"}], "outputs": [Y]}, "each input once: x"),
        ({"inputs": [{**X, "datatype": "FP64"}], "outputs": [Y]}, "not what model.toml says"),
        ({"inputs": [{**X, "shape": [2]}], "outputs": [Y]}, "not what model.toml says"),
        ({"inputs": [{**X, "shape": []}], "outputs": [Y]}, "not what model.toml says"),
        ({"inputs": [{**X, "shape": [0, 2], "data": []}], "outputs": [Y]}, "as many rows"),
        ({"inputs": [{**X, "shape": [5, 2], "data": [0] * 10}], "outputs": [Y]}, "no more than a batch has"),
        ({"inputs": [{**X, "shape": [-1, 2]}], "outputs": [Y]}, "is negative"),
        ({"inputs": [{**X, "data": [1]}], "outputs": [Y]}, "1 values; its shape needs 2"),
        ({"inputs": [{**X, "data": ["a", "b"]}], "outputs": [Y]}, "are not FP32"),
        ({"inputs": [{**X, "data": [[1], [2, 3]]}], "outputs": [Y]}, "are not FP32"),
        ({"inputs": [X], "outputs": [{**Y, "name": "w"}]}, "which the model does not have"),
        ({"inputs": [X], "outputs": [{**Y, "data": ["a"]}]}, "are not FP32"),
    ],
)
async def test_a_file_that_does_not_fit_the_model_says_what_does_not(tmp_path: Path, content: Any, said: str):
    assert said in await examined(tmp_path, content, floats(3.0, -8.0))


async def test_a_type_that_json_can_not_carry_is_named(tmp_path: Path):
    brains = artifact((TensorSpec("x", "BF16", (2,)),), (TensorSpec("y", "FP32", (2,)),))
    content = {"inputs": [{**X, "datatype": "BF16"}], "outputs": [Y]}
    assert "can't hold BF16" in await examined(tmp_path, content, floats(3.0, -8.0), brains)
