"""A model that takes the milliseconds it is asked for, and says which process answered; slow to load on demand.

Who asks for HELD_MS is kept until the test lets go, so that what is done to the request meanwhile surely meets it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SLOW_MS = 1500
"""From here on the model says that it has begun."""
HELD_MS = 100_000
"""Longer than any test does something to the request."""
LET_GO = "let go"
"""A file in the folder of the project that has the model: where it is, nobody is kept."""
_BEGAN = b"BEGAN"

SETTINGS = """
format = "class"
entry = "model.py:Sleeping"
threads = 1

[[inputs]]
name = "milliseconds"
datatype = "INT64"
shape = [1]

[[outputs]]
name = "slept"
datatype = "INT64"
shape = [1]

[[outputs]]
name = "process"
datatype = "INT64"
shape = [1]

[limits]
max_run_s = 120
"""

CODE = '''
import os
import time
from pathlib import Path

import torch

import torchgate

time.sleep({load_s})


class Sleeping(torchgate.Model):
    """Sleeps."""

    def predict(self, batch):
        slept = batch.inputs["milliseconds"]
        if int(slept.max()) >= {slow_ms}:
            print("BEGAN", flush=True)
        until = time.monotonic() + int(slept.max()) / 1000
        while (left_s := until - time.monotonic()) > 0 and not Path({let_go!r}).exists():
            time.sleep(min(left_s, 0.02))
        return {{"slept": slept, "process": torch.full_like(slept, os.getpid())}}
'''

INFER = "/v2/models/sleeping/infer"


def sleeping(load_s: float = 0.0, let_go: Path = Path("nowhere")) -> dict[str, tuple[str, str]]:
    """The model, by its name.

    Args:
        load_s: how long it takes to load, beside torch.
        let_go: a file; where it is there, nobody is kept.
    """
    return {"sleeping": (SETTINGS, CODE.format(load_s=load_s, slow_ms=SLOW_MS, let_go=str(let_go)))}


def question(milliseconds: int = 0) -> bytes:
    """The body of a request."""
    tensor = {"name": "milliseconds", "datatype": "INT64", "shape": [1, 1], "data": [milliseconds]}
    return json.dumps({"inputs": [tensor]}).encode()


def process_of(body: bytes) -> int:
    """Which process gave an answer."""
    return next(int(one["data"][0]) for one in json.loads(body)["outputs"] if one["name"] == "process")


@contextmanager
def begun(log: Path) -> Iterator[None]:
    """Returns from its block when the model has begun another slow run.

    Args:
        log: what the server or pool that has the model prints to.
    """
    before, give_up_at = log.read_bytes().count(_BEGAN), time.monotonic() + 240
    yield
    while log.read_bytes().count(_BEGAN) == before:
        assert time.monotonic() < give_up_at, "the model did not begin"
        time.sleep(0.02)
