"""What `torchgate models tune` gains on the benchmark's networks: `python benchmarks/tuning.py`, some minutes.

The command itself measures, as an operator would run it: interleaved, medians, answers compared. Each network is
measured several times, for a figure of one run on a shared machine is worth little.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import environment
from systems.torchgate_serve import _MODEL, _MODEL_CLASS

SHAPES = {"mlp": ([512], [256], 32), "resnet18": ([3, 224, 224], [1000], 8)}
HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=sorted(SHAPES), default=sorted(SHAPES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of measuring, for each number of rows (10)")
    parser.add_argument("--python", type=Path, help="with torch and torchgate, instead of the environment's")
    parsed = parser.parse_args()
    python = parsed.python or environment.prepare()
    print("| model, rows | way | median ms of each run | times eager | differs by |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="torchgate tuning ", ignore_cleanup_errors=True) as folder:
        for name in parsed.models:
            _project(Path(folder) / name, name)
            runs = [_tune(python, Path(folder) / name, name, parsed.seconds) for _ in range(parsed.repeats)]
            for line in _lines(name, runs):
                print(line, flush=True)
    return 0


def _project(folder: Path, name: str) -> None:
    row, answer, most = SHAPES[name]
    version = folder / "models" / name / "1"
    version.mkdir(parents=True)
    (folder / "torchgate.toml").write_text(f'[models]\nallow_code = ["{name}"]\n', encoding="utf-8")
    settings = _MODEL.format(row=row, answer=answer, max_batch=most)
    (version.parent / "model.toml").write_text(settings, encoding="utf-8")
    (version / "model.py").write_text(_MODEL_CLASS.format(model=name), encoding="utf-8")
    shutil.copy(HERE / "models.py", version / "models.py")


def _tune(python: Path, project: Path, name: str, seconds: float) -> dict[str, Any]:
    command = [str(python), "-m", "torchgate", "models", "tune", name, "--config", str(project)]
    command += ["--dry-run", "--json", "--seconds", str(seconds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=sys.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _lines(name: str, runs: list[dict[str, Any]]) -> list[str]:
    lines = []
    for index, rows in enumerate(runs[0]["rows"]):
        for choice in ("eager", "channels_last", "aoti"):
            ways = [next(one for one in run["candidates"] if one["choice"] == choice) for run in runs]
            reason = next((one["reason"] for one in ways if one["reason"]), "")
            if reason:
                lines.append(f"| {name}, {rows} | {choice} | {reason} | | |")
                continue
            mine = [one["median_ms"][index] for one in ways]
            gains = [run["candidates"][0]["median_ms"][index] / ms for run, ms in zip(runs, mine, strict=True)]
            cells = ", ".join(f"{ms:.2f}" for ms in mine)
            difference = max(one["difference"] for one in ways)
            lines.append(f"| {name}, {rows} | {choice} | {cells} | {median(gains):.2f} | {difference:.0e} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
