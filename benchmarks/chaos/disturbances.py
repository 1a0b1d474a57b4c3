"""What happens to the server meanwhile: workers, gates and the pool are killed, the model is reloaded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter

import psutil
from connection import Broken, Connection
from deployment import Deployment
from ledger import Ledger
from project import MODEL, ChaosProject


class Disturbances:
    """Each kind at equal distances of progress, so that a run's length decides nothing.

    Args:
        plan: kind (`worker`, `gate`, `pool`, `reload`) → how often.
        seed: which worker or gate is meant.
    """

    def __init__(
        self, ledger: Ledger, project: ChaosProject, deployment: Deployment, plan: dict[str, int], seed: int
    ) -> None:
        self._ledger = ledger
        self._project = project
        self._deployment = deployment
        self._random = random.Random(seed)
        moments = [((index + 0.5) / count, kind) for kind, count in plan.items() for index in range(count)]
        self._moments = sorted(moments)
        ledger.disturbances_left = len(moments)
        self.done: Counter[str] = Counter()
        self.back_s: dict[str, list[float]] = {"gate": [], "pool": []}
        """How long after its start a killed process answered again."""
        self.reload_s: list[float] = []

    async def go_on_until_done(self) -> None:
        """Disturb until all is done; those who ask go on until then."""
        acts = {"worker": self._kill_worker, "gate": self._kill_gate, "pool": self._kill_pool, "reload": self._reload}
        while self._moments:
            at, kind = self._moments[0]
            if self._ledger.progress < at or self._ledger.is_calm:
                await asyncio.sleep(0.02)
                continue
            self._moments.pop(0)
            await acts[kind]()
            self.done[kind] += 1
            self._ledger.disturbances_left -= 1

    async def _kill_worker(self) -> None:
        workers = self._deployment.pool.workers()
        if workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._random.choice(workers).kill()

    async def _kill_gate(self) -> None:
        gate = self._random.choice(self._deployment.gates)
        gate.kill()
        gate.start()
        self.back_s["gate"].append(await gate.until_answering(self._project.keys["operator"]))

    async def _kill_pool(self) -> None:
        pool, gates = self._deployment.pool, self._deployment.gates
        pool.kill()
        pool.start()
        self.back_s["pool"].append(await gates[0].until_answering(self._project.keys["operator"]))

    async def _reload(self) -> None:
        """A new copy of the model's code under the same version; from the 200 on nobody may hear the old one."""
        ledger, generation = self._ledger, self._ledger.generation_written + 1
        ledger.generation_written = generation
        self._project.write_generation(generation)
        connection, started_at = Connection(self._deployment.ports[0]), time.perf_counter()
        try:
            headers = {"X-API-Key": self._project.keys["operator"], "Content-Type": "application/json"}
            await connection.send(f"/v2/repository/models/{MODEL}/load", headers, b"{}")
            async with asyncio.timeout(60):
                answer = await connection.receive()
            outcome = str(answer.status)
            if answer.status != 200:
                outcome += f" {json.loads(answer.body or b'{}').get('code', '')}"
            ledger.heard("operator", f"reload: {outcome}", answer.headers.get("x-request-id"))
            if answer.status == 200:
                ledger.generation_confirmed = generation
                self.reload_s.append(time.perf_counter() - started_at)
        except (Broken, TimeoutError):
            ledger.heard("operator", "reload: connection broken", None)
        finally:
            connection.tear()
