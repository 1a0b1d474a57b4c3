"""Torchgate beside its peers, in one command: `python benchmarks/run.py` (all), `--quick` (under three minutes).

Sets up an environment of its own under .cache/, starts every contender afresh for every model and repeat, interleaved,
checks its answers against torch, loads it, and prints tables; every figure goes to benchmarks/results/ as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import environment

HERE = Path(__file__).resolve().parent


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036  # this file is run by whatever `python` is
        raise SystemExit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]  # a Windows console's own is not
    given = _arguments()
    if given.inside:
        return _measure(given)
    python = Path(given.python).absolute() if given.python else environment.prepare()
    return _hand_over([str(python), str(HERE / "run.py"), *sys.argv[1:], "--inside"])


def _hand_over(argv: list[str]) -> int:
    if os.name == "posix":  # become that process, so that whoever ends us ends it
        sys.stdout.flush()
        os.execv(argv[0], argv)  # no shell, our own command line
    inner = subprocess.Popen(argv)
    while True:
        try:
            return inner.wait()
        except KeyboardInterrupt:  # Windows tells both; the inner one ends its servers and then itself
            continue


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repeat of the telling rows: shows that all work")
    parser.add_argument("--systems", default="", help="comma-separated beginnings of names, as in the table")
    parser.add_argument("--cells", default="", help="comma-separated beginnings, such as tiny,mlp raw")
    parser.add_argument("--repeats", type=int, help="instead of the plan's")
    parser.add_argument("--seconds", type=int, help="of one measured cell, instead of the plan's")
    parser.add_argument("--minutes", type=float, help="after which nothing more is started, instead of the plan's")
    parser.add_argument("--client", choices=("auto", "wrk", "python"), default="auto", help="what makes the load")
    parser.add_argument("--output", type=Path, help="file for the JSON, instead of one in benchmarks/results/")
    parser.add_argument("--python", help="an interpreter that has requirements.txt and Torchgate: nothing is set up")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(given: argparse.Namespace) -> int:
    # What needs the environment's packages; the outer half of this file runs without them.
    import load
    import machine
    import report
    from trial import Conditions, Row, truth_of

    # Ended from outside: leave through every `finally`, so that no server stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan, contenders = _plan(given), _contenders(given.systems, is_quick=given.quick)
    facts = machine.describe_machine()
    models = list(dict.fromkeys(cell.workload.model for cell in plan.cells))
    truths = {model.name: truth_of(model) for model in models}
    conditions = Conditions(plan, load.client_name(given.client), Path(sys.executable), truths)
    _announce(plan, contenders, conditions.client, facts)
    rows: list[Row] = []
    started_at = time.time()
    try:
        # Closed at once, whatever interrupts us: a server that runs belongs to a suspended generator.
        with contextlib.closing(_all_rows(plan, contenders, conditions)) as arriving:
            for row in arriving:
                rows.append(row)
                _show(row)
    except KeyboardInterrupt:
        print("Interrupted; what was measured follows.", flush=True)
    heading = f"Load by {conditions.client}, closed loop, on the same machine. {machine.one_line(facts)}."
    print("\n" + report.render(report.Results(rows), heading))
    run = {
        "command": ["benchmarks/run.py", *[argument for argument in sys.argv[1:] if argument != "--inside"]],
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_at)),
        "took_s": round(time.time() - started_at, 1),
        "machine": facts,
        "client": conditions.client,
        "plan": {"repeats": plan.repeats, "seconds": plan.seconds, "warm_up_s": plan.warm_up_s},
        "contenders": {contender.name: contender.about for contender in contenders},
        "rows": [row.as_json() for row in rows],
    }
    output = given.output or HERE / "results" / _file_name(started_at, facts, is_quick=given.quick)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    print(f"Every figure: {output}")
    return 0 if any(not row.reason for row in rows) else 1


def _plan(given: argparse.Namespace):
    from dataclasses import replace

    from workloads import full_plan, quick_plan

    plan = quick_plan() if given.quick else full_plan()
    wanted = [part.strip() for part in given.cells.split(",") if part.strip()]
    cells = tuple(cell for cell in plan.cells if not wanted or any(cell.name.startswith(part) for part in wanted))
    if not cells:
        raise SystemExit(f"No cell begins with {given.cells!r}. There are: {', '.join(c.name for c in plan.cells)}.")
    return replace(
        plan,
        cells=cells,
        repeats=given.repeats or plan.repeats,
        seconds=given.seconds or plan.seconds,
        minutes=given.minutes or plan.minutes,
    )


def _contenders(wanted: str, *, is_quick: bool):
    from systems.fastapi_uvicorn import FastApiUvicorn
    from systems.http_bare import HttpBare
    from systems.litserve_api import LitServeApi
    from systems.torch_bare import TorchBare
    from systems.torchgate_serve import TorchgateServe

    everyone = (
        TorchgateServe(),
        TorchgateServe(is_apart=True),
        FastApiUvicorn(),
        LitServeApi("", batches=False, timeout_s=0.0),
        LitServeApi(" batch", batches=True, timeout_s=0.0),
        LitServeApi(" batch+wait", batches=True, timeout_s=0.002),
        TorchBare(),
        HttpBare(),
    )
    parts = [part.strip() for part in wanted.split(",") if part.strip()]
    chosen = [one for one in everyone if not parts or any(one.name.startswith(part) for part in parts)]
    if is_quick:  # three starts of LitServe for every model would take most of the three minutes
        chosen = [one for one in chosen if one.name != "LitServe batch"]
    if not chosen:
        raise SystemExit(f"No system begins with {wanted!r}. There are: {', '.join(one.name for one in everyone)}.")
    return chosen


def _all_rows(plan, contenders, conditions):
    """Repeat by repeat, model by model, contender by contender, each repeat beginning with another contender."""
    from trial import Row, run_trial

    ends_at = time.monotonic() + plan.minutes * 60
    models = list(dict.fromkeys(cell.workload.model for cell in plan.cells))
    for repeat in range(plan.repeats):
        order = contenders[repeat % len(contenders) :] + contenders[: repeat % len(contenders)]
        for model in models:
            cells = [cell for cell in plan.cells if cell.workload.model == model]
            for contender in order:
                if time.monotonic() < ends_at:
                    yield from run_trial(contender, cells, repeat, conditions)
                else:
                    for cell in cells:
                        yield Row(contender.name, cell.name, repeat, reason="not run: out of time")


def _announce(plan, contenders, client, facts) -> None:
    import machine

    print(machine.one_line(facts))
    print(
        f"{len(contenders)} contenders, {len(plan.cells)} cells, {plan.repeats} repeats of {plan.seconds} s "
        f"(+ {plan.warm_up_s} s warm-up), load by {client}; ends after {plan.minutes:g} minutes at the latest.",
        flush=True,
    )
    if facts["load_before"] is not None and facts["load_before"] > 0.5:
        print(f"This machine is not idle (load {facts['load_before']}): the figures will be noise.", flush=True)


def _show(row) -> None:
    told = row.reason or (
        f"{row.rate:10,.1f}/s  p50 {row.p50_ms:8.2f}  p99 {row.p99_ms:8.2f} ms  CPU {row.cpu_us:9,.0f} µs"
        + (f"  {row.failures} failed" if row.failures else "")
    )
    print(f"[{row.repeat + 1}] {row.system:20} {row.cell:18} {told}", flush=True)


def _file_name(started_at: float, facts: dict[str, object], *, is_quick: bool) -> str:
    when = time.strftime("%Y-%m-%d-%H%M", time.gmtime(started_at))
    return f"{when}-{facts['commit']}-{'quick' if is_quick else 'full'}.json"


if __name__ == "__main__":
    raise SystemExit(main())
