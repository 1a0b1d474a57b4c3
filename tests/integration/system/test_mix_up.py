"""Many principals, random cancels, worker kills: every answer proves that it belongs to its question.

The model answers each number with its double plus one, and with the principal that its own row carried. A shifted
answer, of a neighbour in the batch, of an earlier question on the connection, of a batch that died, can't pass.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.rigs.http_connection import HttpConnection
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.processes import kill, workers_of
from tests.rigs.server_process import ServerProcess

PRINCIPALS = 12
QUESTIONS_EACH = 120
KILLS = 3

MODEL_CODE = '''
import torch
import torchgate


class Owner(torchgate.Model):
    """Doubles each number, and says whose row it was."""

    def predict(self, batch):
        torch.sin(torch.rand(200, 200)).sum()  # some work, so that a kill meets a run
        owners = [principal.key for principal in batch.principals]
        return {"double": batch.inputs["number"] * 2 + 1, "owner": owners}
'''

MODEL_TOML = """
format = "class"
entry = "model.py:Owner"
replicas = 2

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

[batching]
max_batch_size = 16
max_batch_delay_s = 0.001
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> KeyedProject:
    """A project with one model and as many API keys as there are principals."""
    keys = tuple(f"k{index:02d}" for index in range(PRINCIPALS))
    return KeyedProject.write(
        tmp_path_factory.mktemp("mix up, with a space"), {"owner": (MODEL_TOML, MODEL_CODE)}, keys
    )


class Asker:
    """One principal: asks, sometimes hangs up in the middle, and checks each answer it gets."""

    def __init__(self, port: int, key_id: str, key: str, seed: int) -> None:
        self._port = port
        self._key_id = key_id
        self._headers = {"X-API-Key": key, "Content-Type": "application/json"}
        self._random = random.Random(seed)  # the same rudeness each run
        self._connection = HttpConnection(port)
        self.outcomes: Counter[str] = Counter()

    async def ask_all(self, questions: int) -> None:
        """Ask them one after another on one connection; a hang-up starts a new one."""
        for _ in range(questions):
            rows = self._random.randint(1, 3)
            numbers = [self._random.getrandbits(60) for _ in range(rows)]
            body = json.dumps(
                {"inputs": [{"name": "number", "datatype": "INT64", "shape": [rows, 1], "data": numbers}]}
            ).encode()
            await self._ask(numbers, body)
        await self._connection.close()

    async def _ask(self, numbers: list[int], body: bytes) -> None:
        await self._connection.send("POST", "/v2/models/owner/infer", self._headers, body)
        if self._random.random() < 0.15:
            for _ in range(self._random.randint(0, 20)):
                await asyncio.sleep(0)  # let the request get some random way into the server
            await self._connection.close()
            self.outcomes["hung up"] += 1
            return
        answer = await self._connection.receive()
        if answer.status != 200:
            self.outcomes[f"{answer.status} {answer.json()['error']}"] += 1
        else:
            self.outcomes["200"] += 1
            outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
            assert outputs["double"] == [number * 2 + 1 for number in numbers]
            assert outputs["owner"] == [f"key:{self._key_id}"] * len(numbers)


async def kill_workers(server: ServerProcess, askers: list[Asker], total: int) -> int:
    """Kill a worker each time another part of all questions is done; returns how many were killed."""
    killed = 0
    chooser = random.Random(99)
    while killed < KILLS and sum(sum(asker.outcomes.values()) for asker in askers) < total:
        done = sum(sum(asker.outcomes.values()) for asker in askers)
        if done >= total * (killed + 1) // (KILLS + 2) and (workers := workers_of(server.pid)):
            kill(chooser.choice(workers))
            killed += 1
        await asyncio.sleep(0.01)  # polls the askers' counts, does not time anything
    return killed


@pytest.mark.torch_start
@pytest.mark.timeout(900)
async def test_every_answer_belongs_to_its_question(project: KeyedProject) -> None:
    """No answer is shifted, lost or doubled by cancels and worker deaths, and the audit trail counts them all."""
    with ServerProcess.start(project.folder) as server:
        server.wait_ready()
        askers = [Asker(server.port, key_id, key, seed) for seed, (key_id, key) in enumerate(project.keys.items())]
        total = PRINCIPALS * QUESTIONS_EACH
        killer = asyncio.create_task(kill_workers(server, askers, total))
        await asyncio.gather(*(asker.ask_all(QUESTIONS_EACH) for asker in askers))
        killed = await killer
    outcomes = sum((asker.outcomes for asker in askers), Counter())
    assert sum(outcomes.values()) == total
    assert killed == KILLS
    assert set(outcomes) <= {"200", "hung up"}, outcomes  # companions of a killed batch got their answers
    answered = [event for event in project.audit_events() if event["class_uid"] == 6003]
    assert Counter(str(event["http_response"]["code"]) for event in answered)["200"] >= outcomes["200"]
    assert audit_verifies(project.folder)


def audit_verifies(folder: Path) -> bool:
    """Whether `torchgate audit verify` is content with the project's trail."""
    command = [sys.executable, "-m", "torchgate", "audit", "verify", "--config", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
