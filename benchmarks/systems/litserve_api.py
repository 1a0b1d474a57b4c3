"""LitServe with its own worker process; without batching, and with it, with and without a wait.

Which is best depends on the load, so all take part and the report shows the best of them in every row. The setting
`fast_queue` made no difference and is left out. Its request queue takes JSON or form fields, never a raw body, so
binary numbers travel as base64 in JSON; answers may be raw, and are.
"""

from __future__ import annotations

import argparse
import base64
from collections.abc import Mapping

import numpy
import orjson

from systems import Launch, Place, Question, json_numbers
from workloads import MODELS, Cell, ModelFacts, Workload


class LitServeApi:
    """LitServe under one choice of its batching settings.

    Args:
        suffix: tells the choices apart.
        batches: whether it may collect a batch, up to the model's max_batch.
        timeout_s: its `batch_timeout`: 0 takes what is waiting.
    """

    def __init__(self, suffix: str, *, batches: bool, timeout_s: float) -> None:
        self.name = "LitServe" + suffix
        self.batches, self.timeout_s = batches, timeout_s
        how = f"max_batch_size as for Torchgate, batch_timeout {timeout_s}" if batches else "no batching"
        self.about = f"LitServe, one worker, {how}; JSON list, or base64 in JSON with raw FP32 bytes back"

    def declines(self, cell: Cell) -> str:
        can_batch = cell.connections > 1 and cell.workload.model.max_batch > 1
        return "nothing to batch" if self.batches and not can_batch else ""

    def launch(self, model: ModelFacts, place: Place) -> Launch:
        max_batch = model.max_batch if self.batches else 1
        return Launch((
            str(place.python), "-m", "systems.litserve_api", "--model", model.name, "--port", str(place.port),
            "--max-batch", str(max_batch), "--batch-timeout", str(self.timeout_s),
        ))  # fmt: skip

    def question(self, workload: Workload, row: numpy.ndarray) -> Question:
        if workload.body == "json":
            body = b'{"data":' + json_numbers(row).encode() + b"}"
        else:
            body = b'{"raw":"' + base64.b64encode(row.tobytes()) + b'"}'
        return Question("/predict", {"Content-Type": "application/json"}, body)

    def answer(self, workload: Workload, headers: Mapping[str, str], body: bytes) -> numpy.ndarray | None:
        if workload.body == "json":
            return numpy.array(orjson.loads(body)["output"], numpy.float32)
        return numpy.frombuffer(body, "<f4")


def main() -> None:
    import litserve  # only the server process needs what follows

    from systems.litserve_hooks import Hooks

    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-batch", type=int, required=True)
    parser.add_argument("--batch-timeout", type=float, required=True)
    given = parser.parse_args()
    hooks = Hooks(MODELS[given.model], given.max_batch, given.batch_timeout)
    server = litserve.LitServer(hooks, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=given.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
