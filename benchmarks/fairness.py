"""Who waits for whom, with real workers: `python benchmarks/fairness.py`, some thirty seconds.

1. One caller alone; beside a hundred that are another principal; beside a hundred that are the same one, which is what
   first come, first served would be for it.
2. Two models on one device with weights 3:1, each with more callers than fit into a batch.

At the engine, without HTTP: the queue is what is measured. Needs an environment with torch and torchgate.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

MODEL = """import time
import torch
import torchgate

class Slow(torchgate.Model):
    def predict(self, batch):
        time.sleep({batch_s})
        return {{"y": batch.inputs["x"] * 2}}
"""
SETTINGS = """threads = 1
device_weight = {weight}
request_parameters = []
[[inputs]]
name = "x"
datatype = "FP32"
shape = [1]
[[outputs]]
name = "y"
datatype = "FP32"
shape = [1]
[batching]
max_batch_size = 8
max_batch_delay_s = 0.002
"""
BATCH_S = {"a": 0.010, "b": 0.020}
WEIGHTS = {"a": 3.0, "b": 1.0}
SECONDS = 5.0


async def _measure(folder: Path) -> dict[str, Any]:
    from torchgate.engine.catalog import read_catalog
    from torchgate.engine.local_workers import LocalWorkers
    from torchgate.engine.scheduler import Scheduler
    from torchgate.engine.settings import EngineSettings, ModelsSettings
    from torchgate.engine_composition import operating_system

    for name, batch_s in BATCH_S.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / "model.py").write_text(MODEL.format(batch_s=batch_s), encoding="utf-8")
        (folder / name / "model.toml").write_text(SETTINGS.format(weight=WEIGHTS[name]), encoding="utf-8")
    catalog, findings = read_catalog(ModelsSettings(folder=folder, allow_code=tuple(BATCH_S)))
    if findings:
        raise SystemExit("\n".join(map(str, findings)))
    settings = EngineSettings(threads=1, standbys=0, section_bytes=16 << 20)
    children, sections = operating_system()
    engine = Scheduler(catalog, LocalWorkers(children, sections, settings), settings)
    warm = asyncio.Event()
    engine.watch(lambda: warm.set() if engine.is_warm else None)
    await engine.start()
    await warm.wait()
    try:
        return {
            "batch_s": BATCH_S,
            "max_batch_size": 8,
            "alone": await _innocent(engine, ""),
            "beside_100_of_another": await _innocent(engine, "flooder"),
            "beside_100_of_its_own": await _innocent(engine, "innocent"),
            "device": await _device(engine),
        }
    finally:
        await engine.stop(5)


async def _ask(engine: Any, model: str, key: str) -> None:
    from torchgate.contract.clock import monotonic_s
    from torchgate.contract.inference import InferenceRequest
    from torchgate.contract.principal import Principal
    from torchgate.contract.tensors import PlacedTensor

    ref, principal = engine.resolve(model, None), Principal(key, key, "api_key", "key")
    permit = await engine.admit(ref, principal, 4)
    try:
        (await permit.reserve(4))[:] = bytes(4)
        placed = PlacedTensor("x", "FP32", (1, 1), 0, 4)
        await permit.run(InferenceRequest("benchmark", principal, (placed,), 1, monotonic_s() + 60))
    finally:
        permit.release()


async def _forever(engine: Any, model: str, key: str) -> None:
    while True:
        await _ask(engine, model, key)


@contextlib.asynccontextmanager
async def _load(engine: Any, callers: list[tuple[str, str]]) -> Any:
    tasks = [asyncio.create_task(_forever(engine, model, key)) for model, key in callers]
    await asyncio.sleep(0.5)
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _innocent(engine: Any, flooder: str) -> dict[str, float]:
    """Times of one caller that asks again when it is answered, in milliseconds."""
    times = []
    async with _load(engine, [("a", flooder)] * 100 if flooder else []):
        ends_at = time.perf_counter() + SECONDS
        while time.perf_counter() < ends_at:
            started_at = time.perf_counter()
            await _ask(engine, "a", "innocent")
            times.append((time.perf_counter() - started_at) * 1e3)
    parts = quantiles(times, n=100)
    return {"answers": len(times), "p50_ms": round(parts[49], 2), "p99_ms": round(parts[98], 2)}


async def _device(engine: Any) -> dict[str, float]:
    """The part of the device's time that each model had."""
    async with _load(engine, [(model, f"{model}{index}") for model in BATCH_S for index in range(40)]):
        before = {model: await _used_s(engine, model) for model in BATCH_S}
        await asyncio.sleep(SECONDS)
        used = {model: await _used_s(engine, model) - before[model] for model in BATCH_S}
    return {"weight_a": 3.0, "weight_b": 1.0, "used_a_to_b": round(used["a"] / used["b"], 2)}


async def _used_s(engine: Any, model: str) -> float:
    record = await engine.statistics(engine.resolve(model, None))
    return sum(one.ns for one in record.batches.values()) / 1e9


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="torchgate fairness ", ignore_cleanup_errors=True) as folder:
        result = asyncio.run(_measure(Path(folder)))
    text = json.dumps(result, indent=2)
    print(text)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
