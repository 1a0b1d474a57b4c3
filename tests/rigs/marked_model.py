"""A model that says in each answer which of its makings gave it, and callers who never stop asking it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

from tests.rigs.http_connection import HttpConnection

SETTINGS = """
format = "class"
entry = "model.py:Marked"
threads = 1

[[inputs]]
name = "number"
datatype = "INT64"
shape = [1]

[[outputs]]
name = "number"
datatype = "INT64"
shape = [1]

[[outputs]]
name = "mark"
datatype = "INT64"
shape = [1]

[batching]
max_batch_size = 8
"""

CODE = '''
import time

import torch

import torchgate


class Marked(torchgate.Model):
    """Echoes the number beside its own mark."""

    def predict(self, batch):
        number = batch.inputs["number"]
        time.sleep(0.002)
        return {"number": number, "mark": torch.full_like(number, MARK)}


MARK = {mark}
'''


def code(mark: int) -> str:
    """model.py of one making."""
    return CODE.replace("{mark}", str(mark))


def golden(mark: int) -> str:
    """golden.json for it."""
    tensor = {"shape": [1, 1], "datatype": "INT64"}
    return json.dumps(
        {
            "inputs": [{"name": "number", "data": [7], **tensor}],
            "outputs": [{"name": "number", "data": [7], **tensor}, {"name": "mark", "data": [mark], **tensor}],
        }
    )


def write_version(model: Path, version: str, mark: int, *, golden_mark: int | None = None) -> None:
    """A version of it, each file put in place at once."""
    folder = model / version
    folder.mkdir(exist_ok=True)
    for name, text in (("golden.json", golden(mark if golden_mark is None else golden_mark)), ("model.py", code(mark))):
        draft = model / f".{name}"
        draft.write_text(text, encoding="utf-8")
        draft.replace(folder / name)


class Callers:
    """Ask without pause, and take down every answer.

    Args:
        port: of the server.
        key: API key.
        allowed: marks that an answer may have now; the test changes it.
    """

    def __init__(self, port: int, key: str, allowed: set[int]) -> None:
        self._port = port
        self._headers = {"X-API-Key": key}
        self.allowed = allowed
        self.answered: Counter[int] = Counter()
        self.wrong: list[str] = []
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, count: int) -> None:
        self._tasks = [asyncio.create_task(self._ask(index)) for index in range(count)]

    async def stop(self) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)

    async def after(self, count: int = 40) -> None:
        """Return when so many more have been answered."""
        wanted = self.answered.total() + count
        async with asyncio.timeout(60):
            while self.answered.total() < wanted and not self.wrong:  # noqa: ASYNC110 - counts what many tasks do
                await asyncio.sleep(0.01)

    async def _ask(self, index: int) -> None:
        connection, number = HttpConnection(self._port), index * 1_000_000
        try:
            while not self._is_over and not self.wrong:
                number += 1
                allowed = set(self.allowed)
                tensor = {"name": "number", "datatype": "INT64", "shape": [1, 1], "data": [number]}
                body = json.dumps({"inputs": [tensor]}).encode()
                answer = await connection.request("POST", "/v2/models/marked/infer", self._headers, body)
                self._take_down(answer.status, answer.json(), number, allowed | self.allowed)
        finally:
            await connection.close()

    def _take_down(self, status: int, answer: dict[str, object], number: int, allowed: set[int]) -> None:
        outputs = {one["name"]: one["data"] for one in answer.get("outputs", ())}  # type: ignore[attr-defined]
        if status != 200 or outputs["number"] != [number] or outputs["mark"][0] not in allowed:
            self.wrong.append(f"{number}: {status} {answer}, allowed {allowed}")
        else:
            self.answered[outputs["mark"][0]] += 1
