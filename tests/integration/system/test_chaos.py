"""The chaos benchmark, short: whatever is killed, nobody hears another's answer and no audit event is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).resolve().parents[3] / "benchmarks" / "chaos" / "run.py"


@pytest.mark.torch_start
@pytest.mark.timeout(1200)
@pytest.mark.linux("the Windows Python here takes 10 s for each start of torch, and a run has many")
def test_no_answer_is_mixed_up_and_no_event_lost_in_chaos(tmp_path: Path) -> None:
    """Workers, both gates and the pool are killed, the model is reloaded, some flood, poison, hang up and cancel."""
    figures = tmp_path / "chaos.json"
    plan = ["--requests", "4000", "--worker-kills", "4", "--gate-kills", "2", "--pool-kills", "1", "--reloads", "3"]
    done = subprocess.run(
        [sys.executable, str(CHAOS), *plan, "--poisons", "6", "--output", str(figures)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=1100,
        check=False,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    run = json.loads(figures.read_text(encoding="utf-8"))
    assert (run["mixed_up"], run["wrong_generation"], run["audit_lost"]) == (0, 0, 0)
    assert run["answered"] >= 0.5 * run["asked"]
    assert run["disturbed"] == {"worker": 4, "gate": 2, "pool": 1, "reload": 3}
    assert run["outcomes"]["innocent"]["200"] > 1000
    assert any(outcome.startswith("429") for outcome in run["outcomes"]["limited"])
