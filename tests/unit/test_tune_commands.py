"""`models tune`, as a person types it: a real process measures, and model.toml keeps what its author wrote."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest

import torchgate
from torchgate import tune_commands
from torchgate.cli import main

MODEL_TOML = """# of the team that owns it

[[inputs]]
name = "x"   # a picture
datatype = "FP32"
shape = [3, 16, 16]

[[outputs]]
name = "y"
datatype = "FP32"
shape = [4]

[batching]
max_batch_size = 4
"""
SOURCE = """
import torch, torchgate

class M(torchgate.Model):
    def load(self, context):
        torch.manual_seed(0)
        self.net = torch.nn.Conv2d(3, 4, 3)

    def predict(self, batch):
        return {"y": self.net(batch.inputs["x"]).mean((2, 3))}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One model `conv`, whose code is allowed; without a compiler; with our source as its process's package."""
    monkeypatch.setenv("CXX", "no such compiler")
    monkeypatch.setattr(tune_commands, "operating_system", _operating_system)
    folder = tmp_path / "models ü" / "conv" / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(SOURCE, encoding="utf-8")
    (folder.parent / "model.toml").write_text(MODEL_TOML, encoding="utf-8")
    (tmp_path / "torchgate.toml").write_text('[models]\nfolder = "models ü"\nallow_code = ["conv"]\n', encoding="utf-8")
    return tmp_path


def _operating_system() -> tuple[object, None]:
    """Children that find the package where this process found it, though it may not be installed."""
    if sys.platform == "win32":
        from torchgate.windows.children import WindowsChildren as Children
    else:
        from torchgate.posix.children import PosixChildren as Children
    return Children(module_folders=(Path(torchgate.__file__).parent.parent,)), None


def model_toml(project: Path) -> str:
    return (project / "models ü" / "conv" / "model.toml").read_text(encoding="utf-8")


@pytest.mark.torch_start
def test_the_fastest_is_written_with_its_figures_and_the_rest_stays(project: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["models", "tune", "conv", "--seconds", "0.1", "--json", "--config", str(project)]) == 0
    said = capsys.readouterr()
    done = json.loads(said.out)
    assert [one["choice"] for one in done["candidates"] if one["median_ms"]] == ["eager", "channels_last"]
    text = model_toml(project)
    assert text.startswith(MODEL_TOML)
    table = tomllib.loads(text)["tuned"]["1"]
    assert table["choice"] == done["tuned"]["choice"]
    assert table["median_ms"].keys() == {"eager", "channels_last"}
    assert "no C++ compiler here" in next(one["reason"] for one in done["candidates"] if one["choice"] == "aoti")
    assert main(["check", str(project)]) == 0


@pytest.mark.torch_start
def test_a_model_that_can_t_be_loaded_is_said_with_its_traceback_and_nothing_is_written(
    project: Path, capsys: pytest.CaptureFixture[str]
):
    file = project / "models ü" / "conv" / "1" / "model.py"
    file.write_text(SOURCE.replace("self.net =", "raise OSError('no weights')  #"), encoding="utf-8")
    assert main(["models", "tune", "conv", "--config", str(project)]) == 1
    said = capsys.readouterr().err
    assert "can't be tuned: OSError: no weights" in said
    assert "in load" in said
    assert model_toml(project) == MODEL_TOML


@pytest.mark.torch_start
def test_a_model_that_takes_too_long_is_ended(project: Path, capsys: pytest.CaptureFixture[str]):
    file = project / "models ü" / "conv" / "1" / "model.py"
    file.write_text(SOURCE.replace("self.net =", "while True: pass\n        self.net ="), encoding="utf-8")
    assert main(["models", "tune", "conv", "--timeout-s", "2", "--config", str(project)]) == 1
    assert "took longer than 2 s" in capsys.readouterr().err
    assert model_toml(project) == MODEL_TOML


def test_code_that_nobody_vouches_for_is_not_run_to_measure_it(project: Path, capsys: pytest.CaptureFixture[str]):
    (project / "torchgate.toml").write_text('[models]\nfolder = "models ü"\n', encoding="utf-8")
    assert main(["models", "tune", "conv", "--config", str(project)]) == 1
    assert "nobody signed or allowed" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["vonc", "conv:2", "", ":"])
def test_a_model_that_is_not_there_is_not_tuned(project: Path, capsys: pytest.CaptureFixture[str], model: str):
    assert main(["models", "tune", model, "--config", str(project)]) == 1
    assert "There is" in (said := capsys.readouterr().err) or "there is no model" in said
