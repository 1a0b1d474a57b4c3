"""Clients that we did not write, unmodified, each in a process of its own, against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.server_process import ServerProcess

HERE = Path(__file__).parent
KSERVE = "kserve==0.21.0"
"""Heavy, and bound to versions of its own: it gets an environment of its own, made once for each checkout."""

MIRROR_CODE = '''
import torchgate


class Mirror(torchgate.Model):
    """Answers each input with itself."""

    def predict(self, batch):
        return dict(batch.inputs)
'''
MIXED_TENSORS = {"floats": ("FP32", 3), "longs": ("INT64", 1), "flags": ("BOOL", 1), "texts": ("BYTES", 1)}
HALF_TENSORS = {"halves": ("FP16", 2), "brains": ("BF16", 2)}


def mirror_settings(tensors: dict[str, tuple[str, int]]) -> str:
    """The model.toml of a mirror."""
    lines = ['format = "class"', 'entry = "model.py:Mirror"']
    for kind in ("inputs", "outputs"):
        for name, (datatype, length) in tensors.items():
            lines += [f"[[{kind}]]", f'name = "{name}"', f'datatype = "{datatype}"', f"shape = [{length}]"]
    return "\n".join([*lines, "[batching]", "max_batch_size = 8"])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> KeyedProject:
    """Two mirrors, and one caller who may do all with them."""
    models = {
        "mirror": (mirror_settings(MIXED_TENSORS), MIRROR_CODE),
        "halves": (mirror_settings(HALF_TENSORS), MIRROR_CODE),
    }
    may_change = '\n[[policy.grants]]\nroles = ["asker"]\nmodels = ["*"]\nactions = ["load", "unload"]\n'
    return KeyedProject.write(tmp_path_factory.mktemp("clients"), models, ("client",), may_change)


@pytest.fixture(scope="module")
def server(project: KeyedProject) -> Iterator[ServerProcess]:
    """The project, served and ready."""
    with ServerProcess.start(project.folder) as server:
        server.wait_ready()
        yield server


def run_session(python: str | Path, script: str, address: str, key: str) -> dict[str, Any]:
    """What a client's process printed."""
    command = [str(python), str(HERE / script), address, key]
    done = subprocess.run(command, capture_output=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.torch_start
def test_tritonclient_works_unmodified(project: KeyedProject, server: ServerProcess) -> None:
    """Health, metadata, config, statistics, JSON, binary tensors, compression, half precision, refusals."""
    seen = run_session(sys.executable, "triton_session.py", f"127.0.0.1:{server.port}", project.keys["client"])
    assert (seen["live"], seen["ready"], seen["model_ready"], seen["unknown_model_ready"]) == (True, True, True, False)
    assert seen["server"]["name"] == "torchgate"
    assert "binary_tensor_data" in seen["server"]["extensions"]
    assert {one["name"]: (one["datatype"], one["shape"]) for one in seen["model"]["inputs"]} == {
        name: (datatype, [-1, length]) for name, (datatype, length) in MIXED_TENSORS.items()
    }
    assert seen["config"]["max_batch_size"] == 8
    assert {(one["name"], one["state"]) for one in seen["index"]} == {("mirror", "READY"), ("halves", "READY")}
    for form in ("binary_True", "binary_False", "gzip", "deflate"):
        answer = seen[f"answer_{form}"]
        assert answer["id"] == "asked-by-triton"
        assert answer["equal"] == {"floats": True, "longs": True, "flags": True}, form
        assert answer["texts"] == ['grün, "quoted"', ""], form
    assert seen["half"] == {"halves": [[0.5, -1.75]], "brains": [[0.5, -1.75]]}
    (statistics,) = seen["statistics"]["model_stats"]
    assert statistics["inference_stats"]["success"]["count"] == 4
    refusals = seen["refusals"]
    assert refusals["no credential"].startswith("401 This needs a credential")
    assert refusals["bad key"].startswith("401")
    assert refusals["inputs missing"].startswith("400 Input")
    assert refusals["unknown model"].startswith("404 Request for unknown model: 'nope'")
    changes = seen["changes"]
    assert (changes["unloaded"], changes["loaded"]) == (False, True)
    assert changes["config"].startswith("501 A load can't bring 'config'")
    assert changes["file"].startswith("501")
    assert changes["unknown"].startswith("404 Request for unknown model: 'nope'")
    assert changes["unknown unload"].startswith("404")
    assert changes["nobody"].startswith("401")


@pytest.mark.linux("kserve has no Windows wheels of all that it needs; the server is the same one there")
@pytest.mark.torch_start
@pytest.mark.timeout(1200)
def test_the_kserve_client_works_unmodified(project: KeyedProject, server: ServerProcess) -> None:
    """Health as JSON, readiness, JSON and binary tensors both ways, and our refusal as its error."""
    seen = run_session(kserve_python(), "kserve_session.py", server.url, project.keys["client"])
    assert (seen["live"], seen["ready"], seen["model_ready"]) == (True, True, True)
    for form in ("answer_binary_False", "answer_binary_True"):
        assert seen[form]["longs"] == [2**62 + 1, -5]
        assert seen[form]["flags"] == [True, False]
        assert seen[form]["texts"] == ["grün", "x"]
        assert seen[form]["floats"] == pytest.approx([1.5, -2.25, 3.0, 0.1, 0.0, 7.0])
    assert seen["no credential"] == 401


def kserve_python() -> Path:
    """The interpreter of an environment that has the kserve client; made on first use."""
    folder = Path(__file__).parents[2] / ".cache" / KSERVE.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "uv", "venv", "--quiet", "--clear", str(folder)], check=True)
        install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python), KSERVE]
        subprocess.run(install, check=True)
        (folder / "complete").touch()
    return python
