"""Bare torch: the model in a loop in one process. What the machine can compute at all, without a server."""

from __future__ import annotations

import argparse
import json
import sys
import time

from systems import Launch, Place
from workloads import MODELS, Cell, ModelFacts


class TorchBare:
    """A loop around the model: the compute ceiling."""

    name = "torch alone"
    about = "the model called in a loop in one process on prepared input; the better of batch 1 and the largest batch"

    def declines(self, cell: Cell) -> str:
        return "computes nothing" if cell.workload.model.name.startswith("echo") else ""

    def launch(self, model: ModelFacts, place: Place) -> Launch:
        return Launch((str(place.python), "-m", "systems.torch_bare", "--model", model.name))

    def batches(self, cell: Cell) -> tuple[int, ...]:
        return tuple(sorted({1, min(cell.connections, cell.workload.model.max_batch)}))


def main() -> None:
    import torch  # only the loop's own process needs it

    from models import build

    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    facts = MODELS[parser.parse_args().model]
    torch.set_num_threads(1)
    network = build(facts.name)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        batch, seconds = int(line.split()[0]), float(line.split()[1])
        rows = torch.randn(batch, *facts.row)
        with torch.inference_mode():
            passes, took_s, cpu_s = _loop(network, rows, seconds)
        print(json.dumps({"items": passes * batch, "seconds": took_s, "cpu_s": cpu_s}), flush=True)


def _loop(network: object, rows: object, seconds: float) -> tuple[int, float, float]:
    for _ in range(3):
        network(rows)  # type: ignore[operator]
    passes, cpu_at, started_at = 0, time.process_time(), time.perf_counter()
    while (took_s := time.perf_counter() - started_at) < seconds:
        network(rows)  # type: ignore[operator]
        passes += 1
    return passes, took_s, time.process_time() - cpu_at


if __name__ == "__main__":
    main()
