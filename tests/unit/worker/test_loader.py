"""What the operator reads when a model can't be loaded, and that a good one answers."""

import sys
import textwrap

import pytest
import torch

from torchgate.contract.tensors import Signature, TensorSpec
from torchgate.contract.worker_wire import Load, Loaded, LoadFailed
from torchgate.worker.loader import load_runner

X = TensorSpec("x", "FP32", (3,))
Y = TensorSpec("y", "FP32", (3,))


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a version whose folder holds these files."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in ("model", "own_weights"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)

    def load(source=None, **changes):
        if source is not None:
            (tmp_path / "model.py").write_text(textwrap.dedent(source), encoding="utf-8")
        fields = {
            "model": "m", "version": "3", "format": "class", "folder": str(tmp_path), "entry": "model.py:M",
            "signature": Signature((X,), (Y,)), "max_batch_size": 4, "device": "cpu", "parameters": {"factor": 2},
            "warm_up": 1, "section_token": 0, "section_length": 4096, "idempotent": True,
        }  # fmt: skip
        return load_runner(Load(**(fields | changes)), memoryview(bytearray(4096)), lambda _: None)

    return load


DOUBLER = """
    import torchgate
    class M(torchgate.Model):
        def load(self, context):
            self.factor = context.parameters["factor"]
            assert context.model == "m" and context.version == "3" and context.device == "cpu"
        def predict(self, batch):
            return {"y": batch.inputs["x"] * self.factor}
"""


def reason(outcome) -> str:
    runner, message = outcome
    assert runner is None
    assert isinstance(message, LoadFailed)
    assert message.reason.startswith("Model 'm' version '3' ")
    return message.reason


def test_a_class_is_loaded_and_warmed_up(load):
    runner, message = load(DOUBLER)
    assert runner is not None
    assert isinstance(message, Loaded)


def test_a_class_may_import_its_own_modules(load, tmp_path):
    (tmp_path / "own_weights.py").write_text("FACTOR = 5", encoding="utf-8")
    source = DOUBLER.replace("import torchgate", "import torchgate, own_weights")
    assert isinstance(load(source)[1], Loaded)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("model.py", 'entry must be "file.py:Class"'),
        ("other.py:M", "does not exist"),
        ("../model.py:M", "outside of the version's folder"),
        ("model.py:N", "has no class 'N'"),
    ],
)
def test_a_wrong_entry_is_said(load, entry, said):
    assert said in reason(load(DOUBLER, entry=entry))


def test_the_authors_exception_is_the_reason(load):
    source = DOUBLER.replace("self.factor =", "raise FileNotFoundError('weights.safetensors is missing');")
    outcome = load(source)
    assert "FileNotFoundError: weights.safetensors is missing" in reason(outcome)
    assert "Traceback" in outcome[1].detail


def test_a_class_without_predict_is_said(load):
    assert "no method 'predict'" in reason(load("class M:\n    def load(self, context): ..."))


def test_a_warm_up_that_raises_names_the_remedy(load):
    source = DOUBLER.replace("return", "raise ValueError('no zeros'); return")
    assert "ValueError: no zeros" in reason(load(source))
    assert "[warm_up] runs = 0" in reason(load(source))


def test_an_answer_against_the_signature_shows_before_the_first_request(load):
    source = DOUBLER.replace("* self.factor", "[:, :2]")
    assert "output 'y' has shape [4, 2], declared [4, 3]" in reason(load(source))


def test_without_warm_up_nothing_is_run(load):
    source = DOUBLER.replace("return", "raise ValueError('never'); return")
    assert isinstance(load(source, warm_up=0)[1], Loaded)


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_missing_device_is_said_with_the_remedy(load, device):
    if torch.cuda.is_available():
        device = "cuda:999"
        assert "CUDA devices" in reason(load(DOUBLER, device=device))
    else:
        assert 'set device = "cpu"' in reason(load(DOUBLER, device=device))


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:", "cuda:x", "CPU", "cpu:0:1", ""])
def test_an_unknown_device_is_said(load, device):
    assert f"device '{device}' is not supported" in reason(load(DOUBLER, device=device))


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "model.pkl"])
@pytest.mark.parametrize("format_", ["export", "torchscript"])
def test_a_pickled_file_is_never_loaded(load, tmp_path, name, format_):
    torch.save(torch.nn.Linear(3, 3), tmp_path / name)
    assert "never loaded: they run code" in reason(load(format=format_, entry=name))


def test_other_formats_are_refused(load):
    assert "AOTInductor" in reason(load(format="aoti", entry="model.pt2"))
    assert "format 'onnx' is unknown" in reason(load(format="onnx", entry="model.onnx"))


def exported(folder, module, example, **options) -> str:
    program = torch.export.export(module.eval(), example, **options)
    torch.export.save(program, folder / "model.pt2")
    return "model.pt2"


class Twice(torch.nn.Module):
    def forward(self, x):
        return x * 2


class Two(torch.nn.Module):
    def forward(self, a, b):
        return {"difference": a - b, "total": a + b}


def test_an_exported_program_is_loaded_and_warmed_up(load, tmp_path):
    batch = torch.export.Dim("batch", min=1, max=4)
    entry = exported(tmp_path, Twice(), (torch.zeros(2, 3),), dynamic_shapes=({0: batch},))
    assert isinstance(load(format="export", entry=entry)[1], Loaded)


def test_a_program_exported_for_one_batch_size_fails_its_warm_up(load, tmp_path):
    entry = exported(tmp_path, Twice(), (torch.zeros(2, 3),))
    assert "failed in its warm-up" in reason(load(format="export", entry=entry))


def test_a_program_that_returns_names_is_matched_by_them(load, tmp_path):
    batch = torch.export.Dim("batch", min=1, max=4)
    shapes = ({0: batch}, {0: batch})
    entry = exported(tmp_path, Two(), (torch.zeros(2, 3), torch.ones(2, 3)), dynamic_shapes=shapes)
    names = [TensorSpec(name, "FP32", (3,)) for name in ("a", "b", "total", "difference")]
    signature = Signature(tuple(names[:2]), tuple(names[2:]))
    assert isinstance(load(format="export", entry=entry, signature=signature)[1], Loaded)


def test_an_exported_program_takes_no_texts(load, tmp_path):
    entry = exported(tmp_path, Twice(), (torch.zeros(2, 3),))
    signature = Signature((TensorSpec("x", "BYTES", (1,)),), (Y,))
    assert "'x' is BYTES" in reason(load(format="export", entry=entry, signature=signature))


def test_torchscript_is_read_and_said_to_be_deprecated(load, tmp_path, capfd):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(Twice(), torch.zeros(2, 3)).save(str(tmp_path / "model.pt"))
    assert isinstance(load(format="torchscript", entry="model.pt")[1], Loaded)
    assert "TorchScript is deprecated" in capfd.readouterr().err
