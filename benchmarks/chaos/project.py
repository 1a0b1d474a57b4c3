"""The project that chaos is let loose on: one model whose every answer names its asker, its question and its maker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from torchgate.access.identity.api_key import new_api_key

RAISES, DIES, HANGS = -13, -666, -999
"""Numbers that the model answers by an exception, by the death of its process, by never."""

MODEL = "witness"
MAX_RUN_S = 1.0

_SETTINGS = """\
[gate]
bind = "127.0.0.1:0"

[models]
allow_code = ["{model}"]

[engine]
standbys = {standbys}
restart_budget = 1000
worker_environment = []

[telemetry]
log_level = "info"

[roles]
asker = {askers}
limited = ["key:limited"]
operator = ["key:operator"]

[[policy.grants]]
roles = ["asker"]
models = ["*"]
actions = ["infer", "read"]

[[policy.grants]]
roles = ["operator"]
models = ["*"]
actions = ["infer", "read", "load", "unload", "admin"]
"""

_QUOTA = """
[[quotas]]
role = "limited"
requests_per_minute = {requests_per_minute}
"""

_MODEL_TOML = f"""\
format = "class"
entry = "model.py:Witness"
replicas = 2
threads = 1

[[inputs]]
name = "number"
datatype = "INT64"
shape = [1]

[[outputs]]
name = "double"
datatype = "INT64"
shape = [1]

[[outputs]]
name = "owner"
datatype = "BYTES"
shape = [1]

[[outputs]]
name = "generation"
datatype = "INT64"
shape = [1]

[batching]
max_batch_size = 16
max_batch_delay_s = 0.001

[limits]
max_timeout_s = 20
max_run_s = {MAX_RUN_S}
"""

_MODEL_CODE = f'''\
import os
import time

import torch
import torchgate

GENERATION = {{generation}}


class Witness(torchgate.Model):
    """Doubles each number, names whose row it was and which copy of this file answers."""

    def predict(self, batch):
        numbers = batch.inputs["number"].flatten().tolist()
        if {RAISES} in numbers:
            raise ValueError("a poisoned row")
        if {DIES} in numbers:
            os._exit(7)
        while {HANGS} in numbers:
            time.sleep(0.05)
        torch.sin(torch.rand(100, 100)).sum()  # some work, so that a kill meets a run
        return {{{{
            "double": batch.inputs["number"] * 2 + 1,
            "owner": [one.key for one in batch.principals],
            "generation": torch.full_like(batch.inputs["number"], GENERATION),
        }}}}
'''


@dataclass(frozen=True)
class ChaosProject:
    """Where it is, and each principal's key by its id."""

    folder: Path
    keys: dict[str, str]

    @classmethod
    def write(cls, folder: Path, askers: tuple[str, ...], *, standbys: int, limited_per_minute: int) -> ChaosProject:
        """Write it, with generation 1 of the model."""
        keys = {key_id: new_api_key(key_id) for key_id in (*askers, "operator")}
        members = json.dumps([f"key:{key_id}" for key_id in askers])
        text = _SETTINGS.format(model=MODEL, standbys=standbys, askers=members)
        text += _QUOTA.format(requests_per_minute=limited_per_minute)
        text += "".join(f'\n[[identity.api_keys]]\nid = "{key.id}"\nsha256 = "{key.sha256}"\n' for key in keys.values())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "torchgate.toml").write_text(text, encoding="utf-8")
        version = folder / "models" / MODEL / "1"
        version.mkdir(parents=True)
        (version.parent / "model.toml").write_text(_MODEL_TOML, encoding="utf-8")
        project = cls(folder, {key_id: key.key for key_id, key in keys.items()})
        project.write_generation(1)
        return project

    def write_generation(self, generation: int) -> None:
        """Replace the model's code, whole or not at all."""
        file = self.folder / "models" / MODEL / "1" / "model.py"
        new = file.parent.parent / "model.py.new"  # beside the version, whose folder must never hold half a file
        new.write_text(_MODEL_CODE.format(generation=generation), encoding="utf-8")
        new.replace(file)
