"""What an attacker puts into a `.pt2`, and that torch never sees it."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from torchgate.worker.exported_archive import ArchiveRefused, examined_copy
from torchgate.worker.exported_program_text import is_plain_expression


class Bomb:
    """Unpickling it makes a folder: code has run."""

    def __reduce__(self):
        return os.mkdir, ("code-has-run",)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(1, 4, 3)
        self.scale = torch.tensor([2.0])

    def forward(self, x):
        return self.convolution(x).relu().mean((2, 3)).reshape(-1, 4) * self.scale


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A program with a dynamic batch and a guarded height, as torch.export.save writes it."""
    file = tmp_path_factory.mktemp("pt2") / "plain.pt2"
    dynamic = ({0: torch.export.Dim("batch", min=1, max=64), 2: torch.export.Dim.AUTO},)
    torch.manual_seed(3)
    torch.export.save(torch.export.export(Net().eval(), (torch.randn(8, 1, 8, 8),), dynamic_shapes=dynamic), file)
    return file


@pytest.fixture
def rewritten(plain, tmp_path, monkeypatch):
    """The archive with entries changed, added (by name under the root) or compressed."""
    monkeypatch.chdir(tmp_path)

    def rewrite(changes=None, *, added=(), compression=zipfile.ZIP_STORED):
        target = tmp_path / "attack.pt2"
        with zipfile.ZipFile(plain) as source, zipfile.ZipFile(target, "w", compression) as out:
            for entry in source.infolist():
                name = entry.filename.partition("/")[2]
                data = source.read(entry)
                out.writestr(entry.filename, changes[name](data) if changes and name in changes else data)
            for name, data in added:
                out.writestr(name, data)
        return target

    return rewrite


def refused(file: Path) -> str:
    with pytest.raises(ArchiveRefused) as caught:
        examined_copy(file)
    assert not Path("code-has-run").exists()
    return str(caught.value)


def edited(change):
    def edit(data: bytes) -> bytes:
        program = json.loads(data)
        change(program)
        return json.dumps(program).encode()

    return edit


def test_a_plain_program_answers_as_before(plain):
    program = torch.export.load(examined_copy(plain))
    torch.manual_seed(3)
    net = Net().eval()
    for rows, height in ((1, 8), (5, 12), (64, 8)):
        x = torch.randn(rows, 1, height, 8)
        torch.testing.assert_close(program.module()(x), net(x))


def test_sample_inputs_that_run_code_are_never_read(rewritten):
    """torch falls back to unpickling sample inputs without any restriction."""
    file = rewritten({"data/sample_inputs/model.pt": lambda data: pickle.dumps((Bomb(),))})
    torch.export.load(examined_copy(file))
    assert not Path("code-has-run").exists()


def test_a_pickled_weight_is_refused(rewritten):
    def pickled(config):
        next(iter(config["config"].values()))["use_pickle"] = True

    file = rewritten(
        {
            "data/weights/model_weights_config.json": edited(pickled),
            "data/weights/weight_0": lambda data: pickle.dumps(Bomb()),
        }
    )
    assert "is pickled, and loading it would run code" in refused(file)


@pytest.mark.parametrize("path", ["custom_obj_0", "opaque_obj_0", "../tensor_0", "tensor_0/../custom_obj_0"])
def test_a_constant_that_is_no_tensor_is_refused(rewritten, path):
    def custom(config):
        next(iter(config["config"].values()))["path_name"] = path

    assert "custom object" in refused(rewritten({"data/constants/model_constants_config.json": edited(custom)}))


@pytest.mark.parametrize(
    "name",
    [
        "plain/data/constants/custom_obj_0",
        "plain/data/constants/model.pt",
        "plain/../../etc/passwd",
        "/etc/passwd",
        "plain/data/weights/..\\..\\evil",
        "C:/evil",
        "plain/data/aotinductor/model/model.so",
        "plain/unknown",
        "second_root/byteorder2",
    ],
)
def test_foreign_entries_are_refused(rewritten, name):
    refused(rewritten(added=[(name, pickle.dumps(Bomb()))]))


def test_an_entry_that_is_there_twice_is_refused(rewritten, plain):
    with zipfile.ZipFile(plain) as source:
        name = next(entry for entry in source.namelist() if entry.endswith("model.json"))
    with pytest.warns(UserWarning, match="Duplicate name"):
        file = rewritten(added=[(name, b"{}")])
    assert "twice" in refused(file)


def test_a_compressed_archive_is_refused_before_it_is_inflated(rewritten):
    file = rewritten(added=[("plain/extra/zeros", bytes(20 << 20))], compression=zipfile.ZIP_DEFLATED)
    assert "more than its own" in refused(file) or "compressed" in refused(file)


@pytest.mark.parametrize(
    "target",
    ["torch.os.system", "torch.load", "torch.hub.load", "torch.ops.load_library", "_operator.attrgetter", "eval",
     "torch.ops.aten.from_file.default", "#extension:x", "math.__loader__.load_module"],
)  # fmt: skip
def test_a_call_of_anything_but_an_operator_is_refused(rewritten, target):
    def call(program):
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    assert "no operator that we know" in refused(rewritten({"models/model.json": edited(call)}))


@pytest.mark.parametrize(
    "expression",
    ["__import__('os').mkdir('code-has-run')", "Symbol.__class__", "(lambda: 1)()", "Integer(1).func", "open('x')",
     "[x for x in ()]", "Symbol('a b')", "9" * 5000],
)  # fmt: skip
def test_an_expression_that_is_none_of_sizes_is_refused(rewritten, expression):
    """sympify evaluates the text of a size."""

    def inject(program):
        program["guards_code"] = [expression]

    assert not is_plain_expression(expression)
    assert "expression that is none of sizes" in refused(rewritten({"models/model.json": edited(inject)}))


@pytest.mark.parametrize(
    "expression",
    ["Symbol('s77', positive=True, integer=True)", "Add(Symbol('s0', integer=True), Integer(-2))",
     "L['x'].size()[2] >= 3", "((-2) + L['x'].size()[2]) != 1", "Mod(s0, 4)"],
)  # fmt: skip
def test_what_torch_writes_is_a_plain_expression(expression):
    assert is_plain_expression(expression)


def test_a_name_that_is_code_is_refused(rewritten):
    """Names of inputs become the text of a Python function."""

    def rename(program):
        program["graph_module"]["graph"]["inputs"][-1]["as_tensor"]["name"] = "x=__import__('os').mkdir('code-has-run')"

    assert "a name that is none" in refused(rewritten({"models/model.json": edited(rename)}))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no zip at all", pickle.dumps(Bomb())])
def test_a_file_that_is_no_archive_is_refused(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "x.pt2"
    file.write_bytes(data)
    assert "no .pt2 archive" in refused(file)


def test_a_torch_save_file_under_another_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "x.pt2"
    buffer = io.BytesIO()
    torch.save({"weights": torch.zeros(2)}, buffer)
    file.write_bytes(buffer.getvalue())
    refused(file)
