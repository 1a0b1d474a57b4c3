"""Chaos: many principals ask while workers, gates and the pool are killed, the model is reloaded, and some misbehave.

    python benchmarks/chaos/run.py                         200,000 requests, a pool and two gates
    python benchmarks/chaos/run.py --requests 5000         a short one
    python benchmarks/chaos/run.py --layout serve          gate and pool in one process

Ends with 1 where one answer was mixed up or came from a model already replaced, or one audit event is missing.
Needs an environment with Torchgate, torch and psutil: `python dev.py test` makes one in .venv.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from askers import Asker, Cancels, Credential, Flooder, HangsUp, Limited, Poisoner  # noqa: E402
from deployment import Deployment, DidNotStart  # noqa: E402
from disturbances import Disturbances  # noqa: E402
from ledger import Ledger  # noqa: E402
from project import ChaosProject  # noqa: E402

import machine  # noqa: E402  # found by the path above

INNOCENTS, CONNECTIONS_EACH = 12, 2
FLOOD_CONNECTIONS = 24
CALM_PART = 0.05
"""Of all requests, at the beginning: the innocents alone, nothing disturbed, to compare with."""


def main() -> int:
    """Run it, print the report, write the figures."""
    given = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="torchgate chaos "))
    try:
        run = asyncio.run(_run(given, folder))
    except DidNotStart as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 1
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    _print(run)
    if given.output:
        given.output.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
        print(f"Every figure: {given.output}")
    return 0 if run["passed"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000, help="how many questions (200000)")
    parser.add_argument("--layout", choices=("pool", "serve"), default="pool", help="which processes (pool)")
    parser.add_argument("--gates", type=int, default=2, help="with a pool (2)")
    parser.add_argument("--seed", type=int, default=1, help="of every choice")
    for kind, count in (("worker", 60), ("gate", 20), ("pool", 4)):
        parser.add_argument(f"--{kind}-kills", type=int, default=count, help=f"of a {kind} ({count})")
    parser.add_argument("--reloads", type=int, default=20, help="of the model (20)")
    parser.add_argument("--poisons", type=int, default=60, help="rows that raise, kill or hang (60)")
    parser.add_argument("--keep", action="store_true", help="keep the project's folder with its audit trails and logs")
    parser.add_argument("--output", type=Path, help="a file for the figures, as JSON")
    return parser.parse_args()


async def _run(given: argparse.Namespace, folder: Path) -> dict[str, object]:
    innocents = [f"innocent-{index:02}" for index in range(INNOCENTS)]
    kinds = (*innocents, "flooder", "limited", "poisoner", "hangs-up", "cancels")
    project = ChaosProject.write(folder / "project", kinds, standbys=2, limited_per_minute=60)
    ports = _free_ports(1 if given.layout == "serve" else given.gates)
    deployment = Deployment(given.layout, project.folder, ports, folder)
    ledger = Ledger(given.requests)
    plan = {
        "worker": given.worker_kills,
        "gate": given.gate_kills,
        "pool": given.pool_kills,
        "reload": given.reloads,
    }
    disturbances = Disturbances(ledger, project, deployment, plan, given.seed)
    print(f"{given.requests} requests on {machine.one_line(machine.describe_machine())}", flush=True)
    try:
        await deployment.start(project.keys["operator"])
        started_at = time.perf_counter()
        await _ask_all(ledger, project, ports, disturbances, given)
        took_s = time.perf_counter() - started_at
    finally:
        deployment.stop()
    lost, events = ledger.lost_audit_events(project.folder)
    verified = _verify_trails(project.folder)
    found = ledger.as_json()
    return {
        "layout": given.layout,
        "machine": machine.describe_machine(),
        "seed": given.seed,
        "took_s": round(took_s, 1),
        **found,
        "audit_lost": lost,
        "audit_events": events,
        "audit_trails": verified,
        "disturbed": dict(disturbances.done),
        "gate_back_s": _summary(disturbances.back_s["gate"]),
        "pool_back_s": _summary(disturbances.back_s["pool"]),
        "reload_s": _summary(disturbances.reload_s),
        "examples": [*ledger.mix_ups[:10], *ledger.wrong_generations[:10]],
        "passed": not (lost or ledger.mix_ups or ledger.wrong_generations) and all(verified.values()),
    }


async def _ask_all(
    ledger: Ledger, project: ChaosProject, ports: list[int], disturbances: Disturbances, given: argparse.Namespace
) -> None:
    def who(key_id: str) -> Credential:
        return Credential(key_id, project.keys[key_id])

    calm: list[Asker] = [
        Asker(ledger, who(f"innocent-{index % INNOCENTS:02}"), ports, given.seed + index)
        for index in range(INNOCENTS * CONNECTIONS_EACH)
    ]
    rude: list[Asker] = [Flooder(ledger, who("flooder"), ports, 100 + index) for index in range(FLOOD_CONNECTIONS)]
    rude += [kind(ledger, who(kind.kind.replace(" ", "-")), ports, 200) for kind in (Limited, HangsUp, Cancels)]
    rude.append(Poisoner(ledger, who("poisoner"), ports, 300, poisons=given.poisons))
    async with asyncio.TaskGroup() as group:
        for asker in calm:
            group.create_task(asker.ask_until_done())
        group.create_task(_tell(ledger, disturbances))
        while ledger.progress < CALM_PART:  # noqa: ASYNC110 - the ledger has no events
            await asyncio.sleep(0.05)
        ledger.is_calm = False
        for asker in rude:
            group.create_task(asker.ask_until_done())
        group.create_task(disturbances.go_on_until_done())


async def _tell(ledger: Ledger, disturbances: Disturbances) -> None:
    """Every ten seconds one line, so that nobody thinks that it hangs."""
    while not ledger.is_done:
        await asyncio.sleep(10)
        print(
            f"  {ledger.asked} asked, {len(ledger.answered)} answered, {len(ledger.mix_ups)} mixed up; "
            f"{dict(disturbances.done)}",
            flush=True,
        )


def _verify_trails(folder: Path) -> dict[str, bool]:
    """`torchgate audit verify` on each trail below the project: whether it is whole."""
    trails = sorted({segment.parent for segment in folder.rglob("*.jsonl")})
    results = {}
    for trail in trails:
        argv = [sys.executable, "-m", "torchgate", "audit", "verify", "--folder", str(trail)]
        done = subprocess.run(argv, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        results[trail.relative_to(folder).as_posix()] = done.returncode == 0
    return results


def _summary(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {"count": len(seconds), "median": round(median(seconds), 3), "max": round(max(seconds), 3)}


def _print(run: dict[str, object]) -> None:
    print(f"\n{run['asked']} asked, {run['answered']} answered in {run['took_s']} s; disturbed: {run['disturbed']}")
    print(f"mixed-up answers: {run['mixed_up']}   of a replaced model: {run['wrong_generation']}")
    print(f"lost audit events: {run['audit_lost']} of {run['audit_events']}; trails whole: {run['audit_trails']}")
    print(f"innocents, calm:  {run['calm_ms']}\ninnocents, chaos: {run['chaos_ms']}")
    print(f"back after a kill: gate {run['gate_back_s']}, pool {run['pool_back_s']}; reloads {run['reload_s']}")
    for kind, outcomes in run["outcomes"].items():
        print(f"  {kind:10} " + ", ".join(f"{outcome}: {count}" for outcome, count in outcomes.items()))
    for example in run["examples"]:
        print(f"  !! {example}")
    print("PASSED" if run["passed"] else "FAILED")


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on just now; all held until all are known."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


if __name__ == "__main__":
    raise SystemExit(main())
