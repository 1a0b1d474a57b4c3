"""What `models tune` compiled answers as the model did, and is left aside where it does not fit any more."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest
import torch

from torchgate.contract.model import Batch
from torchgate.contract.tensors import Signature, TensorSpec
from torchgate.contract.tuning import PACKAGE, Tune, Tuned, TuneDone
from torchgate.contract.worker_wire import Load, Loaded, LoadFailed
from torchgate.worker.loader import load_model, load_runner
from torchgate.worker.tuning import tune

pytestmark = [
    pytest.mark.linux("a C++ compiler; elsewhere the reason why there is no package is tested"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
]

CONV = """
    import torch, torchgate
    class M(torchgate.Model):
        def load(self, context):
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(
                torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
                torch.nn.Flatten(), torch.nn.Linear(8, 4),
            ).eval()
        def predict(self, batch):
            return {"y": self.net(batch.inputs["x"])}
    """
MLP = """
    import torch, torchgate
    class M(torchgate.Model):
        def load(self, context):
            torch.manual_seed(0)
            self.first, self.second = torch.nn.Linear(16, 32), torch.nn.Linear(32, 4)
        def predict(self, batch):
            hidden = torch.relu(self.first(batch.inputs["x"]))
            return {"y": self.second(hidden), "rows": torch.full((batch.rows,), 7)}
    """
Y, ROWS = TensorSpec("y", "FP32", (4,)), TensorSpec("rows", "INT64", ())
KINDS = {
    "conv": (CONV, Signature((TensorSpec("x", "FP32", (3, 12, 12)),), (Y,))),
    "mlp": (MLP, Signature((TensorSpec("x", "FP32", (16,)),), (Y, ROWS))),
}


class Compiled:
    """A version's folder with its package in it, and what tuning said."""

    def __init__(self, folder: Path, kind: str) -> None:
        source, self.signature = KINDS[kind]
        self.folder = folder
        (folder / "model.py").write_text(textwrap.dedent(source), encoding="utf-8")
        (folder / "tuned").mkdir()
        order = Tune(
            "m", "1", "class", str(folder), "model.py:M", self.signature, 8, "cpu", {}, str(folder / PACKAGE), 0.05
        )
        self.done = tune(order, lambda _: None)
        assert isinstance(self.done, TuneDone), self.done
        package = next(one for one in self.done.candidates if one.choice == "aoti")
        assert not package.reason, package.reason
        self.difference = package.difference
        self.tuned = msgspec.structs.replace(self.done.tuned, choice="aoti", package_sha256=_sha256(folder / PACKAGE))

    def load(self, tuned: Tuned | None, **changes: object) -> Load:
        fields = {
            "model": "m", "version": "1", "format": "class", "folder": str(self.folder), "entry": "model.py:M",
            "signature": self.signature, "max_batch_size": 8, "device": "cpu", "parameters": {}, "warm_up": 1,
            "section_token": 0, "section_length": 4096, "idempotent": True, "tuned": tuned,
        }  # fmt: skip
        return Load(**(fields | changes))

    def answer(self, tuned: Tuned | None, rows: int, **changes: object) -> dict[str, torch.Tensor]:
        shape = self.signature.inputs[0].shape
        given = torch.randn((rows, *shape), generator=torch.Generator().manual_seed(rows))
        with torch.inference_mode():
            return dict(load_model(self.load(tuned, **changes)).predict(Batch({"x": given}, rows, (), (), 0.0)))


def _sha256(file: Path) -> str:
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module", params=sorted(KINDS))
def made(request, tmp_path_factory):
    before = sys.path[:]
    yield Compiled(tmp_path_factory.mktemp(request.param), request.param)
    sys.path[:] = before
    for name in ("model", "torchgate_model_model"):
        sys.modules.pop(name, None)


@pytest.fixture
def version(made, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    copy = object.__new__(Compiled)
    copy.__dict__.update(made.__dict__, folder=tmp_path)
    return copy


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8])
def test_a_compiled_model_answers_as_the_model_for_every_number_of_rows(made: Compiled, rows: int):
    plain, compiled = made.answer(None, rows), made.answer(made.tuned, rows)
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-4, atol=1e-6)
    assert made.difference <= 1e-4


def test_a_compiled_model_runs_none_of_the_author_s_code(version: Compiled, capfd):
    loaded = load_model(version.load(version.tuned))
    assert loaded.modules == ()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"torch": "2.0.0"}, "tuned with torch 2.0.0"),
        ({"machine": "windows AMD64"}, "tuned on 'windows AMD64'"),
        ({"made_of": "0" * 64}, "have changed since it was tuned"),
        ({"package_sha256": "0" * 64}, "is missing or another one"),
    ],
)
def test_where_the_package_does_not_fit_the_model_runs_as_it_is_and_says_why(
    version: Compiled, capfd, changes: dict[str, str], said: str
):
    tuned = msgspec.structs.replace(version.tuned, **changes)
    plain, answered = version.answer(None, 3), version.answer(tuned, 3)
    assert torch.equal(plain["y"], answered["y"])
    assert said in capfd.readouterr().err


def test_new_weights_are_not_answered_for_by_a_package_of_the_old_ones(version: Compiled, capfd):
    file = version.folder / "model.py"
    file.write_text(file.read_text(encoding="utf-8").replace("manual_seed(0)", "manual_seed(1)"), encoding="utf-8")
    plain, answered = version.answer(None, 3), version.answer(version.tuned, 3)
    assert torch.equal(plain["y"], answered["y"])
    assert "have changed since it was tuned" in capfd.readouterr().err


def test_a_package_may_be_the_model_itself(made: Compiled):
    _, answer = load_runner(
        made.load(None, format="aoti", folder=str(made.folder / "tuned"), entry="aoti.pt2"),
        memoryview(bytearray(4096)),
        lambda _: None,
    )
    assert isinstance(answer, Loaded), answer
    plain = made.answer(None, 5)
    compiled = made.answer(None, 5, format="aoti", folder=str(made.folder / "tuned"), entry="aoti.pt2")
    torch.testing.assert_close(compiled["y"], plain["y"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04"])
def test_what_is_no_package_is_refused_before_torch_sees_it(version: Compiled, content: bytes):
    (version.folder / "bad.pt2").write_bytes(content)
    _, answer = load_runner(
        version.load(None, format="aoti", entry="bad.pt2"), memoryview(bytearray(64)), lambda _: None
    )
    assert isinstance(answer, LoadFailed)
    assert "no package of AOTInductor" in answer.reason
