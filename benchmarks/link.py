"""What the engine itself takes of a request, and what the pipe between gate and pool adds to it.

    python benchmarks/link.py                               20 rounds of each
    python benchmarks/link.py --rounds 5
    python benchmarks/link.py --against ../other/src        by turns with the sources of another checkout

No HTTP, no identity and no worker: callers in one process ask for admission, memory, a run and its answer, and give
all of it back, of an engine whose back end answers in the next turn of the loop. `engine`: it is in that process, as
in `serve`. `pipe`: it is in a second one, behind the pipe that `torchgate gate` and `torchgate pool` have. A round is a
fresh process (or two), by turns; so many callers ask at once, each again when it is answered. `wall` is time per
answer; `cpu` is CPU time of all processes per answer, user and system: the steadier of the two on a busy machine.
Needs an environment with Torchgate and psutil: `python dev.py test` makes one in .venv.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import machine
from small_project import small_project, summary

HERE = Path(__file__).resolve().parent
CALLERS = (1, 8, 64)
_LAYOUTS = ("engine", "pipe")


def main() -> int:
    """Measure, print and write."""
    given = _arguments()
    sources = {"this": "", **({"other": str(given.against.resolve())} if given.against else {})}
    times: dict[str, list[float]] = {}
    with small_project("Echo", "") as project:
        for number in range(given.rounds):
            for source in list(sources)[:: -1 if number % 2 else 1]:
                for layout in _LAYOUTS:
                    for name, us in _round(project.folder, layout, sources[source]).items():
                        times.setdefault(f"{layout}, {name}, {source}", []).append(us)
    figures = {name: summary(some, 2) for name, some in sorted(times.items())}
    for name, some in figures.items():
        print(f"{name:28} {some}")
    ratios = _ratios(times) if given.against else {}
    for name, ratio in ratios.items():
        print(f"{name:28} this / other: {ratio:.3f}")
    if given.output:
        run = {"machine": machine.describe_machine(), "rounds": given.rounds, "us": figures, "ratios": ratios}
        given.output.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    return 0


def _ratios(times: dict[str, list[float]]) -> dict[str, float]:
    """Medians of the ratios of each round, as both sides of one drift together."""
    names = [name.removesuffix(", this") for name in times if name.endswith(", this")]
    return {
        name: median(ours / theirs for ours, theirs in zip(times[f"{name}, this"], times[f"{name}, other"], strict=True))
        for name in names
    }


def _round(folder: Path, layout: str, sources: str) -> dict[str, float]:
    """One process, or two, with every number of callers; µs by what was measured."""
    environment = {**os.environ, "PYTHONUTF8": "1", **({"PYTHONPATH": sources} if sources else {})}
    line = [sys.executable, str(HERE / "link_sides.py"), layout, str(folder), *map(str, CALLERS)]
    done = subprocess.run(line, env=environment, stdout=subprocess.PIPE, check=True, timeout=120)
    return json.loads(done.stdout)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of each (20)")
    parser.add_argument("--against", type=Path, metavar="SRC", help="sources to be measured by turns with these")
    parser.add_argument("--output", type=Path, help="a file for the figures, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
