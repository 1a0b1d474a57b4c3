"""Every answer is compared with what torch computes directly, row by row."""

import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchgate.contract.tensors import TensorSpec
from torchgate.contract.worker_wire import ItemDone, ItemFailed, Space

Y = TensorSpec("y", "FP32", (2,))
WEIGHTS = torch.tensor([[1.0, -2.0], [0.5, 3.0], [7.0, 0.25]])


def linear(batch):
    return {"y": batch.inputs["x"] @ WEIGHTS}


def test_one_request_is_answered_without_copying_its_input(bench):
    seen = []

    def predict(batch):
        seen.append(batch.inputs["x"].data_ptr())
        return linear(batch)

    x = torch.randn(1, 3)
    done = bench.run(predict, [Y], bench.item(bench.tensor("x", "FP32", x)))
    assert torch.equal(bench.read(done.items[0].outputs[0]), x @ WEIGHTS)
    assert seen == [torch.frombuffer(bench.memory, dtype=torch.uint8).data_ptr()]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(1, 5), min_size=1, max_size=8), seed=st.integers(0, 1000))
def test_each_request_gets_its_own_rows_back(bench, rows, seed):
    """Whatever the sizes of the requests, an answer belongs to its question."""
    bench._next = 0
    torch.manual_seed(seed)
    inputs = [torch.randn(count, 3) for count in rows]
    items = [bench.item(bench.tensor("x", "FP32", x), rows=len(x)) for x in inputs]
    done = bench.run(linear, [Y], *items)
    assert len(done.items) == len(items)
    for x, answered in zip(inputs, done.items, strict=True):
        (output,) = answered.outputs
        assert output.shape == (len(x), 2)
        assert output.offset % 64 == 0
        torch.testing.assert_close(bench.read(output), x @ WEIGHTS)


def test_rows_know_their_principal_and_parameters(bench):
    def predict(batch):
        assert batch.deadline_at == 99.0
        who = [principal.key for principal in batch.principals]
        tones = [parameters.get("tone", "-") for parameters in batch.parameters]
        return {"who": [f"{name} {tone}" for name, tone in zip(who, tones, strict=True)]}

    one = bench.item(bench.tensor("x", "FP32", torch.zeros(2, 1)), rows=2, who="ann")
    two = bench.item(bench.tensor("x", "FP32", torch.zeros(1, 1)), who="bob", parameters={"tone": "dry"})
    done = bench.run(predict, [TensorSpec("who", "BYTES", (1,))], one, two)
    assert done.items[0].outputs[0].shape == (2, 1)
    assert bench.texts(done.items[0].outputs[0]) == [b"ann -", b"ann -"]
    assert bench.texts(done.items[1].outputs[0]) == [b"bob dry"]


def picky(batch):
    """Raises on any negative input, as a batch that holds one bad row does."""
    if (batch.inputs["x"] < 0).any():
        raise ValueError("secret-weights-path /srv/models")
    return linear(batch)


def test_a_bad_request_fails_alone(bench):
    inputs = [torch.ones(1, 3), -torch.ones(1, 3), torch.full((2, 3), 2.0)]
    done = bench.run(picky, [Y], *(bench.item(bench.tensor("x", "FP32", x), rows=len(x)) for x in inputs))
    assert isinstance(done.items[1], ItemFailed)
    for index in (0, 2):
        assert torch.equal(bench.read(done.items[index].outputs[0]), inputs[index] @ WEIGHTS)


def test_the_sentence_for_the_caller_has_nothing_of_the_exception(bench):
    done = bench.run(picky, [Y], bench.item(bench.tensor("x", "FP32", -torch.ones(1, 3))))
    assert done.items[0].sentence.startswith("Model 'm' version '1' failed on this request.")
    assert "secret" not in done.items[0].sentence
    assert "secret-weights-path" in done.items[0].detail
    assert "Traceback" in done.items[0].detail


def test_a_model_that_is_not_idempotent_never_runs_twice(bench):
    runs = []

    def predict(batch):
        runs.append(batch.rows)
        return picky(batch)

    items = [bench.item(bench.tensor("x", "FP32", x)) for x in (torch.ones(1, 3), -torch.ones(1, 3))]
    done = bench.run(predict, [Y], *items, idempotent=False)
    assert runs == [2]
    assert all(isinstance(item, ItemFailed) for item in done.items)


def test_a_model_that_reuses_its_buffer_mixes_no_answers_up(bench):
    """After a batch that raised, the requests run one by one into the same buffer of the model."""
    buffer = torch.empty(1, 2)

    def predict(batch):
        if batch.rows > 1:
            raise RuntimeError("one at a time")
        buffer.copy_(batch.inputs["x"] @ WEIGHTS)
        return {"y": buffer}

    inputs = [torch.full((1, 3), float(number)) for number in range(4)]
    done = bench.run(predict, [Y], *(bench.item(bench.tensor("x", "FP32", x)) for x in inputs))
    for x, item in zip(inputs, done.items, strict=True):
        assert torch.equal(bench.read(item.outputs[0]), x @ WEIGHTS)


def test_a_model_that_writes_into_its_input_is_given_copies_from_then_on(bench):
    from torchgate.worker.collate import Collator

    collator = Collator(bench.memory, torch.device("cpu"))
    item = bench.item(bench.tensor("x", "FP32", torch.ones(1, 3)))
    batch = collator.collate([item], 0.0)
    with torch.inference_mode():
        batch.inputs["x"].mul_(2)
    collator.note_writes(batch.inputs)
    assert collator.copies
    again = collator.collate([item], 0.0).inputs["x"]
    again.mul_(100)
    assert bench.read(item.inputs[0]).max() == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"z": torch.zeros(2, 2)}, "output 'y' is missing; predict returned 'z'"),
        ({"y": torch.zeros(2, 2, dtype=torch.float64)}, "is FP64, declared FP32"),
        ({"y": torch.zeros(2, 2, dtype=torch.int64)}, "is INT64, declared FP32"),
        ({"y": torch.zeros(3, 2)}, "has shape [3, 2], declared [2, 2]"),
        ({"y": torch.zeros(2)}, "has shape [2], declared [2, 2]"),
        ({"y": [[1.0, 2.0], [3.0, 4.0]]}, "is a list; it must be a torch tensor or a numpy array"),
        (torch.zeros(2, 2), "predict returned a Tensor"),
    ],
)
def test_an_answer_against_the_signature_is_the_models_mistake(bench, answer, said):
    item = bench.item(bench.tensor("x", "FP32", torch.zeros(2, 3)), rows=2)
    (failed,) = bench.run(lambda batch: answer, [Y], item).items
    assert "answered against its signature" in failed.sentence
    assert said in failed.detail


@pytest.mark.parametrize(
    ("given", "declared"),
    [(torch.float16, "FP32"), (torch.bfloat16, "FP32"), (torch.float32, "FP64"), (torch.uint8, "INT16")],
)
def test_a_narrower_datatype_is_widened_exactly(bench, given, declared):
    value = torch.tensor([[1, 2, 250]]).to(given)
    item = bench.item(bench.tensor("x", "FP32", torch.zeros(1, 1)))
    (done,) = bench.run(lambda batch: {"y": value}, [TensorSpec("y", declared, (3,))], item).items
    assert bench.read(done.outputs[0]).tolist() == value.tolist()


def test_wanted_outputs_select_and_order(bench):
    outputs = [Y, TensorSpec("n", "INT64", (1,))]
    item = bench.item(bench.tensor("x", "FP32", torch.ones(1, 3)), wanted=("n",))

    def predict(batch):
        return linear(batch) | {"n": torch.tensor([[5]])}

    (done,) = bench.run(predict, outputs, item).items
    assert [output.name for output in done.outputs] == ["n"]


def test_more_output_than_space_asks_once_and_uses_what_is_given(bench):
    asked = []

    def give(batch_id, length):
        asked.append((batch_id, length))
        return Space(batch_id, 1 << 18, length)

    x = torch.randn(40, 3)
    item = bench.item(bench.tensor("x", "FP32", x), rows=40)
    done = bench.run(linear, [Y], item, space_bytes=64, give=give)
    assert asked == [(7, 320 + 64)]
    assert done.items[0].outputs[0].offset == 1 << 18
    torch.testing.assert_close(bench.read(done.items[0].outputs[0]), x @ WEIGHTS)


def test_without_space_the_batch_fails_and_nothing_is_written(bench):
    before = bytes(bench.memory[1 << 19 :])
    item = bench.item(bench.tensor("x", "FP32", torch.ones(40, 3)), rows=40)
    done = bench.run(linear, [Y], item, space_bytes=64, give=lambda batch_id, length: Space(batch_id, 0, 0))
    assert isinstance(done.items[0], ItemFailed)
    assert bytes(bench.memory[1 << 19 :]) == before


def test_one_answer_that_is_too_large_fails_alone(bench):
    """An output of any length: one request's answer has a megabyte, and there are four kilobytes."""
    asked = []

    def give(batch_id, length):
        asked.append(length)
        return Space(batch_id, 1 << 19, length) if length <= 4096 else Space(batch_id, 0, 0)

    def grow(batch):
        return {"y": [b"x" * int(length) for length in batch.inputs["x"].flatten().tolist()]}

    items = [bench.item(bench.tensor("x", "FP32", torch.tensor([[size]]))) for size in (10.0, 1e6, 20.0, 5000.0)]
    done = bench.run(grow, [TensorSpec("y", "BYTES", (1,))], *items, space_bytes=64, give=give)
    assert [type(item) for item in done.items] == [ItemDone, ItemFailed, ItemDone, ItemFailed]
    assert bench.texts(done.items[0].outputs[0]) == [b"x" * 10]
    assert bench.texts(done.items[2].outputs[0]) == [b"x" * 20]
    assert "1000064 bytes" in done.items[1].sentence
    assert len(asked) == 3


def test_where_room_does_not_come_nobody_is_waited_for_twice(bench, monkeypatch):
    """The engine has waited for others to give room back; the batch is not kept for as long again, row by row."""
    times = itertools.count(0.0, 5.0)
    monkeypatch.setattr("torchgate.worker.runner.monotonic_s", lambda: next(times))
    asked = []

    def give(batch_id, length):
        asked.append(length)
        return Space(batch_id, 0, 0)

    items = [bench.item(bench.tensor("x", "FP32", torch.ones(1, 3))) for _ in range(8)]
    done = bench.run(linear, [Y], *items, space_bytes=0, give=give)
    assert len(asked) == 1
    assert all(isinstance(item, ItemFailed) for item in done.items)


FINITE = TensorSpec("y", "FP32", (2,), finite=True)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("idempotent", [True, False])
def test_a_row_that_comes_out_unfinite_fails_alone_and_nothing_runs_twice(bench, bad, idempotent):
    runs = []

    def predict(batch):
        runs.append(batch.rows)
        return linear(batch)

    inputs = [torch.ones(2, 3), torch.tensor([[1.0, 1, 1], [bad, 0, 0]]), torch.full((3, 3), 2.0)]
    items = [bench.item(bench.tensor("x", "FP32", x), rows=len(x)) for x in inputs]
    done = bench.run(predict, [FINITE], *items, idempotent=idempotent)
    assert runs == [7]
    assert isinstance(done.items[1], ItemFailed)
    assert "NaN or infinity" in done.items[1].sentence
    assert "'y'" in done.items[1].detail
    for index in (0, 2):
        assert torch.equal(bench.read(done.items[index].outputs[0]), inputs[index] @ WEIGHTS)


def test_without_finite_nan_is_an_answer_like_any_other(bench):
    done = bench.run(linear, [Y], bench.item(bench.tensor("x", "FP32", torch.full((1, 3), float("nan")))))
    assert bench.read(done.items[0].outputs[0]).isnan().all()


def test_a_whole_answer_must_be_finite_too(bench):
    spec = TensorSpec("y", "FP32", (-1, 2), finite=True)
    for x, kind in ((torch.ones(4, 3), ItemDone), (torch.full((4, 3), float("inf")), ItemFailed)):
        (done,) = bench.run(linear, [spec], bench.item(bench.tensor("x", "FP32", x)), takes_batches=False).items
        assert isinstance(done, kind)


@given(poisoned=st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=6))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whichever_rows_are_poisoned_their_requests_alone_fail(bench, poisoned):
    """Random requests of random rows, some of which come out as NaN."""
    bench = type(bench)()
    inputs = [torch.tensor([[float("nan") if bad else 1.0, 2.0, 3.0] for bad in rows]) for rows in poisoned]
    items = [bench.item(bench.tensor("x", "FP32", x), rows=len(x)) for x in inputs]
    done = bench.run(linear, [FINITE], *items)
    for rows, x, item in zip(poisoned, inputs, done.items, strict=True):
        assert isinstance(item, ItemFailed) == any(rows)
        if not any(rows):
            torch.testing.assert_close(bench.read(item.outputs[0]), x @ WEIGHTS)


POISONS = {
    "raises": 101.0, "too few rows": 102.0, "another datatype": 103.0, "another shape": 104.0, "no output": 105.0,
    "no mapping": 106.0, "comes out unfinite": 107.0,
}  # fmt: skip


def poisoned(batch):
    """Does to the whole batch what any of its rows asks for."""
    x, y = batch.inputs["x"], linear(batch)["y"]
    asked = {name for name, value in POISONS.items() if (x[:, 0] == value).any()}
    if "raises" in asked:
        raise RuntimeError("poison")
    if "too few rows" in asked:
        return {"y": y[1:]}
    if "another datatype" in asked:
        return {"y": y.double()}
    if "another shape" in asked:
        return {"y": y.repeat(1, 2)}
    if "no output" in asked:
        return {"z": y}
    if "no mapping" in asked:
        return [y]
    return {"y": torch.where((x[:, :1] == POISONS["comes out unfinite"]), torch.tensor(float("nan")), y)}


@given(
    asked=st.lists(st.tuples(st.integers(1, 3), st.sampled_from([None, None, *POISONS])), min_size=1, max_size=8),
    idempotent=st.booleans(),
)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_poison_fails_alone_and_runs_no_row_twice_that_must_not(bench, asked, idempotent):
    """Whatever a row makes the model do, short of ending it: its request fails, and the others get their answers."""
    bench, ran = type(bench)(), []

    def predict(batch):
        ran.append(batch.rows)
        return poisoned(batch)

    inputs = []
    for index, (rows, poison) in enumerate(asked):
        x = torch.full((rows, 3), float(index + 1))
        if poison:
            x[-1, 0] = POISONS[poison]
        inputs.append(x)
    items = [bench.item(bench.tensor("x", "FP32", x), rows=len(x)) for x in inputs]
    done = bench.run(predict, [FINITE], *items, idempotent=idempotent)
    spoils_all = {poison for _, poison in asked} - {None, "comes out unfinite"}
    if not idempotent:
        assert ran == [sum(rows for rows, _ in asked)]
    for (_, poison), x, item in zip(asked, inputs, done.items, strict=True):
        assert isinstance(item, ItemFailed) == bool(poison or (spoils_all and not idempotent))
        if isinstance(item, ItemDone):
            torch.testing.assert_close(bench.read(item.outputs[0]), x @ WEIGHTS)


def test_space_that_begins_unaligned_is_never_overrun(bench):
    item = bench.item(bench.tensor("x", "FP32", torch.ones(8, 3)), rows=8)
    start = (1 << 19) + 5
    done = bench.run(linear, [Y], item, space_at=start, space_bytes=64 + 59)
    (output,) = done.items[0].outputs
    assert output.offset % 64 == 0
    assert start <= output.offset
    assert output.offset + output.length <= start + 64 + 59


def test_a_model_without_batches_gets_and_gives_whole_shapes(bench):
    x = torch.randn(4, 3)
    item = bench.item(bench.tensor("x", "FP32", x))
    spec = TensorSpec("y", "FP32", (-1, 2))
    (done,) = bench.run(linear, [spec], item, takes_batches=False).items
    assert isinstance(done, ItemDone)
    torch.testing.assert_close(bench.read(done.outputs[0]), x @ WEIGHTS)
