"""Those who ask: innocents, and those who flood, poison, hang up, cancel, or go over their quota."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from connection import Answer, Broken, Connection
from ledger import Ledger
from project import DIES, HANGS, MODEL, RAISES

PATIENCE_S = 30.0
"""No answer within this is a failure of its own kind: the model's deadlines are shorter."""

_PATH = f"/v2/models/{MODEL}/infer"


@dataclass(frozen=True)
class Credential:
    """Who somebody is: the id of the key, and the key."""

    key_id: str
    key: str


class Asker:
    """Asks one question after the other until enough was asked, and examines each answer.

    Args:
        kind: for the ledger.
        ports: of all gates; the next is tried when one does not answer.
        seed: of this asker's own choices.
    """

    kind = "innocent"
    rows = 3

    def __init__(self, ledger: Ledger, who: Credential, ports: Sequence[int], seed: int) -> None:
        self.ledger = ledger
        self.who = who
        self.random = random.Random(seed)
        self._ports = itertools.cycle(ports[seed % len(ports) :] + ports[: seed % len(ports)])
        self.port = next(self._ports)
        self.connection = Connection(self.port)

    async def ask_until_done(self) -> None:
        """Go on until the ledger says that it is enough."""
        try:
            while not self.ledger.is_done:
                await self.ask_once()
        finally:
            self.connection.tear()

    async def ask_once(self) -> None:
        """One question with numbers that nobody else asks for."""
        rows = self.random.randint(1, self.rows)
        await self.ask([self.random.getrandbits(48) for _ in range(rows)])

    async def ask(self, numbers: list[int], headers: dict[str, str] | None = None) -> None:
        """Ask, and enter what came of it."""
        ledger, least, started_at = self.ledger, self.ledger.generation_confirmed, time.perf_counter()
        is_sent = False
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.connection.send(_PATH, self.headers(headers), body_of(numbers))
                is_sent = True
                ledger.asked += 1
                answer = await self.finish()
        except TimeoutError:
            self.connection.tear()
            ledger.heard(self.kind, f"nothing in {PATIENCE_S:g} s", None)
        except Broken:
            # A gate that is dead takes no questions: those that it took and did not answer are what counts.
            if is_sent:
                ledger.heard(self.kind, "connection broken", None)
            await self._go_elsewhere()
        else:
            if answer is not None:
                await self._enter(answer, numbers, least, started_at)

    async def finish(self) -> Answer | None:
        """The answer; None where this asker does not want it any more."""
        return await self.connection.receive()

    def headers(self, more: dict[str, str] | None) -> dict[str, str]:
        """Of each question."""
        return {"X-API-Key": self.who.key, "Content-Type": "application/json", **(more or {})}

    async def _enter(self, answer: Answer, numbers: list[int], least: int, started_at: float) -> None:
        request_id = answer.headers.get("x-request-id")
        if answer.status != 200:
            self.ledger.heard(
                self.kind, f"{answer.status} {json.loads(answer.body or b'{}').get('code', '')}", request_id
            )
            await asyncio.sleep(0.05 if answer.status in (429, 503) else 0.0)
            return
        self.ledger.heard(self.kind, "200", request_id)
        self.ledger.examine(answer.body, numbers, f"key:{self.who.key_id}", least)
        if self.kind == "innocent":
            self.ledger.took(started_at)

    async def _go_elsewhere(self) -> None:
        self.connection.tear()
        self.port = next(self._ports)
        self.connection = Connection(self.port)
        await asyncio.sleep(0.02)


class Flooder(Asker):
    """Asks for as much as it can on many connections: one object is one connection."""

    kind = "flooder"
    rows = 8


class Limited(Asker):
    """Asks far more than its quota allows."""

    kind = "limited"

    async def ask_once(self) -> None:
        await super().ask_once()
        await asyncio.sleep(0.01)


class HangsUp(Asker):
    """Tears its connection at a random moment of every second question."""

    kind = "hangs up"

    async def finish(self) -> Answer | None:
        if self.random.random() < 0.5:
            return await self.connection.receive()
        for _ in range(self.random.randint(0, 30)):
            await asyncio.sleep(0)  # let the question get some random way into the server
        self.connection.tear()
        self.ledger.heard(self.kind, "hung up", None)
        return None


class Cancels(Asker):
    """Takes back every second question by its own request id, on a connection of its own."""

    kind = "cancels"

    def __init__(self, ledger: Ledger, who: Credential, ports: Sequence[int], seed: int) -> None:
        super().__init__(ledger, who, ports, seed)
        self._numbers = itertools.count(1)
        self._id = ""

    async def ask_once(self) -> None:
        self._id = f"mine-{self.who.key_id}-{next(self._numbers)}"
        await self.ask([self.random.getrandbits(48)], {"X-Request-ID": self._id})

    async def finish(self) -> Answer | None:
        if self.random.random() < 0.5:
            other = Connection(self.port)
            try:
                await other.send(f"/v2/requests/{self._id}/cancel", self.headers(None), b"")
                answer = await other.receive()
                self.ledger.heard(self.kind, f"cancel: {answer.status}", answer.headers.get("x-request-id"))
            except Broken:
                self.ledger.heard(self.kind, "cancel: connection broken", None)
            finally:
                other.tear()
        return await self.connection.receive()


class Poisoner(Asker):
    """Asks like the others, and at each moment of its plan for a row that raises, kills or hangs.

    Args:
        poisons: how many, over the whole run.
    """

    kind = "poisoner"

    def __init__(self, ledger: Ledger, who: Credential, ports: Sequence[int], seed: int, *, poisons: int) -> None:
        super().__init__(ledger, who, ports, seed)
        self._due = [(index + 0.5) / poisons for index in range(poisons)]
        self._kinds = itertools.cycle([RAISES, DIES, RAISES, HANGS])

    async def ask_once(self) -> None:
        if not self._due or self.ledger.progress < self._due[0] or self.ledger.is_calm:
            await super().ask_once()
            await asyncio.sleep(0.02)
            return
        self._due.pop(0)
        await self.ask([self.random.getrandbits(48), next(self._kinds)])


def body_of(numbers: list[int]) -> bytes:
    """The question as Open Inference V2."""
    tensor = {"name": "number", "datatype": "INT64", "shape": [len(numbers), 1], "data": numbers}
    return json.dumps({"inputs": [tensor]}).encode()
