"""The processes that link.py measures: callers of an engine that is here or behind a pipe, and the pool behind it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from torchgate.composition import local_pipes, loop_factory
from torchgate.contract.back_end import Artifact, Batch, BatchAnswer, ItemAnswer, Slot, StateListener
from torchgate.contract.clock import monotonic_s
from torchgate.contract.errors import Overloaded
from torchgate.contract.inference import Engine, InferenceRequest
from torchgate.contract.local_pipes import PipeAddress
from torchgate.contract.os_services import Section, Sections
from torchgate.contract.principal import Principal
from torchgate.contract.tensors import PlacedTensor
from torchgate.contract.worker_limits import Enforcement
from torchgate.engine.catalog import read_catalog
from torchgate.engine.link.pool_end import PoolEnd
from torchgate.engine.link.remote_engine import RemoteEngine
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.section_memory import SectionMemory
from torchgate.engine.settings import EngineSettings, ModelsSettings
from torchgate.engine_composition import operating_system

_SECTION_BYTES = 16 << 20
_BODY_BYTES = 130
_ROW = (1).to_bytes(8, "little")
_OPEN = "open"


class EchoAtOnce:
    """Implements contract.back_end.BackEnd without workers: what comes in goes out again, in the next turn.

    Args:
        sections: of this operating system.
        accounts: that may see the memory.
    """

    def __init__(self, sections: Sections, accounts: Sequence[str]) -> None:
        self._section: Section = sections.create(_SECTION_BYTES, shared_with=accounts)
        self._memory = SectionMemory(self._section.view, 0, _SECTION_BYTES, self._section)
        self._free = 1

    def expect(self, artifacts: Sequence[Artifact]) -> None:
        """Nothing is shared out."""

    async def activate(self, artifact: Artifact, listener: StateListener) -> None:
        """It is ready at once."""
        listener("ready", "", 1)

    async def deactivate(self, activation: int) -> None:
        """There is nothing to end."""

    def reserve(self, activation: int, length: int) -> Slot:
        """Of the one section."""
        piece = self._memory.take(length)
        if piece is None:
            raise Overloaded("The section is full.", retry_after_s=1.0)
        return piece

    def free_replicas(self, activation: int) -> int:
        """One batch at a time."""
        return self._free

    def enforcement(self, activation: int) -> tuple[Enforcement, ...]:
        """No limits."""
        return ()

    async def run(self, batch: Batch, *, quarantined: bool = False, can_wait: bool = False) -> BatchAnswer:
        """Each its own input."""
        self._free = 0
        loop = asyncio.get_running_loop()
        soon: asyncio.Future[None] = loop.create_future()
        loop.call_soon(soon.set_result, None)
        await soon
        self._free = 1
        answers = []
        for item in batch.items:
            answer = self.reserve(0, len(_ROW))
            answer.view[:] = item.slot.view[: len(_ROW)]
            answers.append(ItemAnswer((PlacedTensor("y", "INT64", (1, 1), 0, 8),), answer))
        return BatchAnswer(tuple(answers), 0.0, 1e-5, 0.0, "echo/1")

    async def stop(self) -> None:
        """There is nothing to end."""


def _scheduler(folder: Path, accounts: Sequence[str]) -> Scheduler:
    catalog, mistakes = read_catalog(ModelsSettings(folder=folder / "models", allow_code=("echo",)))
    if mistakes:
        raise SystemExit(f"The benchmark's own model is not sound: {mistakes}")
    settings = EngineSettings()
    return Scheduler(catalog, EchoAtOnce(operating_system()[1], accounts), settings, digest=lambda _: "sha256:0")


async def _obey(engine: Engine, cpu_s: Callable[[], float]) -> None:
    """Be told by a line how many callers ask for how long; say by a line what an answer took."""
    print(_OPEN, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        callers, seconds = line.split()
        cpu_before_s, before = cpu_s(), time.perf_counter()
        answers = await _load(engine, int(callers), float(seconds))
        wall_s, used_s = time.perf_counter() - before, cpu_s() - cpu_before_s
        print(json.dumps({"wall": wall_s / answers * 1e6, "cpu": used_s / answers * 1e6}), flush=True)


async def _load(engine: Engine, callers: int, seconds: float) -> int:
    ends_at = monotonic_s() + seconds
    asked = await asyncio.gather(*(_caller(engine, f"key:{number}", ends_at) for number in range(callers)))
    return sum(asked)


async def _caller(engine: Engine, key: str, ends_at: float) -> int:
    principal = Principal(key, key, "api_key", "key", roles=frozenset({"caller"}))
    inputs = (PlacedTensor("x", "INT64", (1, 1), 0, 8),)
    answers = 0
    ref = engine.resolve("echo", None)
    if ref is None:
        raise SystemExit("There is no model.")
    while (now := monotonic_s()) < ends_at:
        permit = await engine.admit(ref, principal, _BODY_BYTES)
        try:
            view = await permit.reserve(len(_ROW))
            view[:] = _ROW
            response = await permit.run(InferenceRequest("0" * 32, principal, inputs, 1, now + 30.0))
            if bytes(response.payload) != _ROW:
                raise SystemExit("A wrong answer.")
        finally:
            permit.release()
        answers += 1
    return answers


async def _in_one(folder: Path) -> None:
    engine = _scheduler(folder, ())
    await engine.start()
    while not engine.is_warm:  # noqa: ASYNC110 - nothing tells, and nothing is measured yet
        await asyncio.sleep(0.005)
    await _obey(engine, time.process_time)
    await engine.stop(1.0)


async def _behind_pipe(folder: Path) -> None:
    pipes = local_pipes()
    engine = RemoteEngine(
        lambda link: pipes.connect(PipeAddress(folder, "pool"), link, owner=pipes.own_account), program="benchmark"
    )
    line = [sys.executable, __file__, "pool", str(folder)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pool:  # noqa: ASYNC220 - once
        if pool.stdin is None or pool.stdout is None:
            raise SystemExit("The pool has no pipes.")
        pool.stdout.readline()  # it listens
        engine.start()
        await engine.wait_attached(30.0)
        while not engine.is_warm:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
        await _obey(engine, lambda: time.process_time() + _cpu_s(pool.pid))
        await engine.stop()
        pool.stdin.close()  # it ends


def _cpu_s(pid: int) -> float:
    """That a process has used: to the nanosecond where the system says so, else by its clock's ticks."""
    exact = Path(f"/proc/{pid}/schedstat")
    if exact.exists():
        return int(exact.read_text(encoding="ascii").split()[0]) / 1e9
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def _pool(folder: Path) -> None:
    pipes = local_pipes()
    accounts = (pipes.own_account,)
    engine = _scheduler(folder, accounts)
    await engine.start()
    pool = PoolEnd(engine, operating_system()[1], program="benchmark")
    engine.watch(pool.changed)
    pool.start()
    listening = await pipes.listen(PipeAddress(folder, "pool"), allowed=accounts, on_connect=pool.connected)
    print(_OPEN, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    listening.close()
    await pool.close()
    await engine.stop(1.0)


def main() -> int:
    """`engine`, `pipe` or `pool`, and a folder for the pipe whose `models` has the one that is asked."""
    role, folder = sys.argv[1], Path(sys.argv[2])
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run({"engine": _in_one, "pipe": _behind_pipe, "pool": _pool}[role](folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
