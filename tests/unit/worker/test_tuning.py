"""Ways to run a model are measured against each other, and only those that answer as it does."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from torchgate.contract.tensors import Signature, TensorSpec
from torchgate.contract.tuning import Candidate, Tune, TuneDone, TuneFailed
from torchgate.worker.tuning import tune

CONV = """
    import torch, torchgate
    class M(torchgate.Model):
        def load(self, context):
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3)).eval()
        def predict(self, batch):
            return {"y": self.net(batch.inputs["x"]).mean((2, 3))}
    """

X, Y = TensorSpec("x", "FP32", (3, 12, 12)), TensorSpec("y", "FP32", (4,))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in [name for name in sys.modules if name in ("model", "torchgate_model_model")]:
        monkeypatch.delitem(sys.modules, name)
    # No compiler: what is compiled is tested by tests/integration/worker.
    monkeypatch.setenv("CXX", "no such compiler")
    yield tmp_path
    for name in ("model", "torchgate_model_model"):
        sys.modules.pop(name, None)


def tuned(folder: Path, source: str, **changes: object) -> TuneDone | TuneFailed:
    (folder / "model.py").write_text(textwrap.dedent(source), encoding="utf-8")
    fields = {
        "model": "m", "version": "3", "format": "class", "folder": str(folder), "entry": "model.py:M",
        "signature": Signature((X,), (Y,)), "max_batch_size": 4, "device": "cpu", "parameters": {},
        "package": str(folder / "out.pt2"), "budget_s": 0.01,
    }  # fmt: skip
    return tune(Tune(**(fields | changes)), lambda _: None)


def candidate(done: TuneDone | TuneFailed, choice: str) -> Candidate:
    assert isinstance(done, TuneDone), done
    return next(one for one in done.candidates if one.choice == choice)


def test_eager_and_channels_last_are_measured_for_one_row_and_for_the_most(folder: Path):
    done = tuned(folder, CONV)
    assert isinstance(done, TuneDone)
    assert done.rows == (1, 4)
    assert [len(candidate(done, choice).median_ms) for choice in ("eager", "channels_last")] == [2, 2]
    assert candidate(done, "channels_last").difference <= done.tolerances["FP32"] == 1e-4
    assert done.tuned.torch == str(torch.__version__)


def test_without_a_compiler_aoti_is_no_choice_and_the_reason_names_it(folder: Path):
    reason = candidate(tuned(folder, CONV), "aoti").reason
    assert "no C++ compiler here (no such compiler is not on PATH)" in reason


def test_a_model_without_convolutions_has_no_channels(folder: Path):
    source = CONV.replace("torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3)", "torch.nn.Identity()")
    done = tuned(folder, source, signature=Signature((X,), (TensorSpec("y", "FP32", (3,)),)))
    assert "no convolution" in candidate(done, "channels_last").reason
    assert isinstance(done, TuneDone)
    assert (done.tuned.choice, bool(done.reason)) == ("eager", True)


def test_a_model_that_answers_differently_each_time_is_not_tuned(folder: Path):
    done = tuned(folder, CONV.replace(".mean((2, 3))", ".mean((2, 3)) + torch.rand(1)"))
    assert isinstance(done, TuneFailed)
    assert "answers the same input differently each time" in done.reason


def test_a_way_that_answers_otherwise_is_refused(folder: Path):
    """This model looks at the order in memory: exactly what channels-last changes."""
    source = CONV.replace(".mean((2, 3))", ".mean((2, 3)) + self.net[0].weight.stride(1)")
    assert "answers differ" in candidate(tuned(folder, source), "channels_last").reason


def test_a_way_that_raises_is_refused_with_what_it_said(folder: Path):
    """Python raises here, not torch's C++: under Wine that exception may take the process along."""
    wants_rows = (
        'if not self.net[0].weight.is_contiguous():\n                raise ValueError("not my order")\n            '
    )
    source = CONV.replace('return {"y":', f'{wants_rows}return {{"y":')
    assert "not my order" in candidate(tuned(folder, source), "channels_last").reason


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (CONV.replace("def load(self, context):", "def load(self, context):\n            raise OSError('no weights')"),
         "OSError: no weights"),
        (CONV.replace("class M", "class N"), "no class 'M'"),
        (CONV.replace('"y"', '"z"'), "y"),
        (CONV.replace("self.net(batch", "1 / 0 + self.net(batch"), "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_a_model_that_can_t_be_loaded_or_run_is_not_tuned(folder: Path, source: str, said: str):
    done = tuned(folder, source)
    assert isinstance(done, TuneFailed)
    assert said in done.reason
    assert "Model 'm' version '3' can't be tuned" in done.reason


def test_a_device_that_is_not_here_is_said(folder: Path):
    done = tuned(folder, CONV, device="tpu")
    assert isinstance(done, TuneFailed)
    assert "'tpu' is not supported" in done.reason


def test_whole_numbers_texts_and_models_without_batches_are_measured_too(folder: Path):
    source = """
        import torchgate
        class M(torchgate.Model):
            def load(self, context): ...
            def predict(self, batch):
                return {"y": batch.inputs["x"] * 2, "t": batch.inputs["t"]}
        """
    inputs = (TensorSpec("x", "INT64", (2, -1)), TensorSpec("t", "BYTES", (1,)))
    outputs = (TensorSpec("y", "INT64", (2, -1)), TensorSpec("t", "BYTES", (1,)))
    done = tuned(folder, source, signature=Signature(inputs, outputs), max_batch_size=0)
    assert isinstance(done, TuneDone)
    assert (done.rows, done.tolerances) == ((0,), {"INT64": 0.0, "BYTES": 0.0})
    assert "BYTES" in candidate(done, "aoti").reason


def test_what_was_measured_is_known_by_its_files_and_settings(folder: Path):
    marks = [tuned(folder, CONV).tuned.made_of]
    (folder / "tuned").mkdir()
    (folder / "tuned" / "aoti.pt2").write_bytes(b"of an earlier tuning")
    (folder / "model.sig").write_bytes(b"signed since")
    marks.append(tuned(folder, CONV).tuned.made_of)
    assert marks[0] == marks[1]
    marks.append(tuned(folder, CONV, parameters={"a": 1}).tuned.made_of)
    marks.append(tuned(folder, CONV.replace("seed(0)", "seed(1)")).tuned.made_of)
    shutil.rmtree(folder / "tuned")
    assert len(set(marks)) == 3
