"""Torchgate as a user runs it: `torchgate serve`, or gate and pool apart; identity, policy, quotas and audit are on.

Every request carries an API key, is decided by a grant, counted in a quota that it never reaches, and leaves an audit
event at the default durability. The settings file says nothing about speed but what is set for the others too: one
worker, one torch thread, the same largest batch, no wait for a batch, no access log (the audit
is none, and stays on).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy
import orjson

from systems import Launch, Place, Question, json_numbers
from workloads import Cell, ModelFacts, Workload

HERE = Path(__file__).resolve().parent.parent


class TorchgateServe:
    """Torchgate.

    Args:
        is_apart: `torchgate gate` and `torchgate pool` on the same project, instead of `torchgate serve`.
    """

    def __init__(self, *, is_apart: bool = False) -> None:
        self.name = "gate + pool" if is_apart else "Torchgate"
        commands = "`torchgate gate` and `torchgate pool`" if is_apart else "`torchgate serve`"
        self.about = f"{commands}, API key, grant, quota and audit on; Open Inference Protocol V2, JSON or binary"
        self._command = (str(HERE / "systems" / "gate_and_pool.py"),) if is_apart else ("-m", "torchgate", "serve")
        self._key = ""

    def declines(self, cell: Cell) -> str:
        return ""

    def launch(self, model: ModelFacts, place: Place) -> Launch:
        from torchgate.access.identity.api_key import new_api_key  # late: a broken checkout is a row, not a crash

        key = new_api_key("benchmark")
        self._key = key.key
        project = place.folder / "project"
        version = project / "models" / model.name / "1"
        version.mkdir(parents=True)
        _write(project / "torchgate.toml", _PROJECT.format(port=place.port, sha256=key.sha256, model=model.name))
        _write(
            version.parent / "model.toml",
            _MODEL.format(row=list(model.row), answer=list(model.answer), max_batch=model.max_batch),
        )
        shutil.copyfile(HERE / "models.py", version / "models.py")
        _write(version / "model.py", _MODEL_CLASS.format(model=model.name))
        return Launch((str(place.python), *self._command, str(project)))

    def question(self, workload: Workload, row: numpy.ndarray) -> Question:
        facts = workload.model
        path = f"/v2/models/{facts.name}/infer"
        described = {"name": "x", "shape": [1, *facts.row], "datatype": "FP32"}
        if workload.body == "json":
            body = f'{{"inputs":[{json.dumps(described)[:-1]}, "data":{json_numbers(row)}}}]}}'.encode()
            return Question(path, {"Content-Type": "application/json", "X-API-Key": self._key}, body)
        described["parameters"] = {"binary_data_size": row.nbytes}
        head = orjson.dumps({"inputs": [described], "parameters": {"binary_data_output": True}})
        headers = {
            "Content-Type": "application/octet-stream",
            "X-API-Key": self._key,
            "Inference-Header-Content-Length": str(len(head)),
        }
        return Question(path, headers, head + row.tobytes())

    def answer(self, workload: Workload, headers: Mapping[str, str], body: bytes) -> numpy.ndarray | None:
        if workload.body == "json":
            return numpy.array(orjson.loads(body)["outputs"][0]["data"], numpy.float32)
        length = int(headers["inference-header-content-length"])
        return numpy.frombuffer(body[length:], "<f4")


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


_PROJECT = """\
[gate]
bind = "127.0.0.1:{port}"

[[identity.api_keys]]
id = "benchmark"
sha256 = "{sha256}"

[roles]
caller = ["key:benchmark"]

[[policy.grants]]
roles = ["caller"]
models = ["*"]
actions = ["infer", "read"]

[[quotas]]
role = "caller"
requests_per_minute = 1000000000
compute_seconds_per_minute = 1000000

[telemetry]
log_level = "warning"

[models]
folder = "models"
allow_code = ["{model}"]
"""

_MODEL = """\
format = "class"
entry = "model.py:Served"
threads = 1

[[inputs]]
name = "x"
datatype = "FP32"
shape = {row}

[[outputs]]
name = "y"
datatype = "FP32"
shape = {answer}

[batching]
max_batch_size = {max_batch}
max_batch_delay_s = 0.0
"""

_MODEL_CLASS = '''\
import torchgate
from models import build


class Served(torchgate.Model):
    """The benchmark's network, as every contender has it."""

    def load(self, context):
        self.network = build("{model}").to(context.device)

    def predict(self, batch):
        return {{"y": self.network(batch.inputs["x"])}}
'''
