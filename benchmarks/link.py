"""What the engine itself takes of a request, and what the pipe between gate and pool adds to it.

    python benchmarks/link.py                               60 rounds of each
    python benchmarks/link.py --rounds 10
    python benchmarks/link.py --against ../other/src        by turns with the sources of another checkout

No HTTP, no identity and no worker: callers in one process ask for admission, memory, a run and its answer, and give
all of it back, of an engine whose back end answers in the next turn of the loop. `engine`: it is in that process, as
in `serve`. `pipe`: it is in a second one, behind the pipe that `torchgate gate` and `torchgate pool` have. So many
callers ask at once, each again when it is answered. All processes stay, and work by turns for a tenth of a second, so
that whatever else the machine does falls on all alike. `wall` is time per answer; `cpu` is CPU time of all processes
per answer, user and system: the steadier of the two. Needs an environment with Torchgate and psutil: `python dev.py
test` makes one in .venv.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import machine
from small_project import small_project, summary

HERE = Path(__file__).resolve().parent
CALLERS = (1, 8, 64)
_LAYOUTS = ("engine", "pipe")
_ROUND_S, _WARM_UP_S = 0.1, 0.5

Times = dict[str, list[float]]


class Side:
    """A process, or two, that measure when told to.

    Args:
        layout: `engine` or `pipe`.
        sources: instead of the installed ones; empty: these.
    """

    def __init__(self, layout: str, folder: Path, sources: str) -> None:
        environment = {**os.environ, "PYTHONUTF8": "1", **({"PYTHONPATH": sources} if sources else {})}
        line = [sys.executable, str(HERE / "link_sides.py"), layout, str(folder)]
        self._process = subprocess.Popen(
            line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        self._said()

    def measure(self, callers: int, seconds: float) -> dict[str, float]:
        """Microseconds per answer, by what was measured."""
        if self._process.stdin is not None:
            print(callers, seconds, file=self._process.stdin, flush=True)
        return json.loads(self._said())

    def end(self) -> None:
        """It and its pool."""
        self._process.communicate(timeout=30)

    def _said(self) -> str:
        said = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not said:
            raise SystemExit(f"A process ended with {self._process.wait()}; its reason is above.")
        return said


def main() -> int:
    """Measure, print and write."""
    given = _arguments()
    sources = {"this": "", **({"other": str(given.against.resolve())} if given.against else {})}
    times: Times = {}
    with contextlib.ExitStack() as ending:
        sides = dict(_sides(sources, ending))
        for number in range(given.rounds):
            for callers in CALLERS:
                for name in list(sides)[:: -1 if number % 2 else 1]:
                    for what, us in sides[name].measure(callers, _ROUND_S).items():
                        layout, source = name
                        times.setdefault(f"{layout}, {callers} callers, {what}, {source}", []).append(us)
    figures = {name: summary(some, 1) for name, some in sorted(times.items())}
    ratios = _ratios(times) if given.against else {}
    for name, some in figures.items():
        print(f"{name:32} {some}")
    for name, ratio in ratios.items():
        print(f"{name:32} this / other: {ratio:.3f}")
    if given.output:
        run = {"machine": machine.describe_machine(), "rounds": given.rounds, "us": figures, "ratios": ratios}
        given.output.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    return 0


def _sides(sources: dict[str, str], ending: contextlib.ExitStack) -> Iterator[tuple[tuple[str, str], Side]]:
    """Every layout with all sources, each in a folder of its own and warm."""
    for layout in _LAYOUTS:
        for source, folder in sources.items():
            project = ending.enter_context(small_project("Echo", ""))
            side = Side(layout, project.folder, folder)
            ending.callback(side.end)
            for callers in CALLERS:
                side.measure(callers, _WARM_UP_S)
            yield (layout, source), side


def _ratios(times: Times) -> dict[str, float]:
    """Medians of the ratios of each round, as both sides of one drift together."""
    names = [name.removesuffix(", this") for name in times if name.endswith(", this")]
    return {
        name: round(median(a / b for a, b in zip(times[f"{name}, this"], times[f"{name}, other"], strict=True)), 3)
        for name in names
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="of each (60)")
    parser.add_argument("--against", type=Path, metavar="SRC", help="sources to be measured by turns with these")
    parser.add_argument("--output", type=Path, help="a file for the figures, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
