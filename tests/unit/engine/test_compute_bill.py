"""Who pays for a worker's time."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.fakes.in_process_back_end import InProcessBackEnd
from tests.rigs.engine_questions import DIES, RAISES, ask, catalog_of, person, until

from torchgate.contract.clock import monotonic_s
from torchgate.contract.errors import QuotaExceeded
from torchgate.engine.catalog import Catalog
from torchgate.engine.quota_settings import QuotaSettings
from torchgate.engine.quotas import Quotas
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings


class Clock:
    """Stands unless the test moves it."""

    def __init__(self) -> None:
        self.now = monotonic_s()

    def __call__(self) -> float:
        return self.now


class Rig:
    """An engine whose every run waits for the test, with one quota of 60 compute-seconds for each asker."""

    def __init__(self, *, predict_s: float = 0.0, idempotent: bool = True) -> None:
        self.clock = Clock()
        self.gate = asyncio.Event()
        self.back_end = InProcessBackEnd(gate=self.gate, predict_s=predict_s)
        catalog = catalog_of("owner")
        entries = {
            ref: msgspec.structs.replace(
                entry, artifact=msgspec.structs.replace(entry.artifact, idempotent=idempotent, max_run_s=4.0)
            )
            for ref, entry in catalog.entries.items()
        }
        quotas = Quotas([QuotaSettings(role="asker", compute_seconds_per_minute=60)], self.clock)
        self.engine = Scheduler(
            Catalog(entries, catalog.defaults),
            self.back_end,
            EngineSettings(section_bytes=1 << 20),
            self.clock,
            quotas=quotas,
            digest=lambda _: "",
        )

    async def one_batch(self, *questions: tuple[str, list[int]], run_s: float) -> list[asyncio.Task[object]]:
        """Ask all at once, so that they share a batch, and let it take so long."""
        await self.engine.start()
        await until(lambda: self.engine.is_warm)
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(ask(self.engine, numbers, key)) for key, numbers in questions
        ]
        await until(lambda: len(self.back_end.ran) == 1)
        assert len(self.back_end.ran[0].items) == len(questions)
        self.clock.now += run_s
        return tasks

    async def used(self, key: str) -> float:
        """Compute-seconds of one principal, to the millisecond."""
        (use,) = await self.engine.quota_use(person(key))
        return round(use.used, 3)


async def test_a_batch_is_shared_by_rows():
    """Each pays for what its own rows are of the time that the worker measured, and nothing for its wait."""
    rig = Rig(predict_s=2.0)
    tasks = await rig.one_batch(("ada", [1]), ("bob", [1, 2, 3]), run_s=0.0)
    rig.gate.set()
    await asyncio.gather(*tasks)
    assert (await rig.used("ada"), await rig.used("bob")) == (0.5, 1.5)
    await rig.engine.stop(1)


async def test_who_leaves_pays_all_the_same():
    """An attacker who hangs up before each answer would else compute for nothing."""
    rig = Rig(predict_s=2.0)
    tasks = await rig.one_batch(("ada", [1]), ("bob", [1]), run_s=0.0)
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    rig.gate.set()
    await tasks[1]
    assert (await rig.used("ada"), await rig.used("bob")) == (1.0, 1.0)
    await rig.engine.stop(1)


async def test_a_row_that_raises_pays_its_share():
    rig = Rig(predict_s=2.0)
    tasks = await rig.one_batch(("ada", [RAISES]), ("bob", [1]), run_s=0.0)
    rig.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (await rig.used("ada"), await rig.used("bob")) == (1.0, 1.0)
    await rig.engine.stop(1)


async def test_the_guilty_pays_for_the_batch_that_it_lost_and_its_companions_do_not():
    """An attacker's row that kills the worker in a batch of others: their quotas stay as they were."""
    rig = Rig(predict_s=0.25)
    tasks = await rig.one_batch(("ada", [1, 2, 3]), ("eve", [DIES]), ("bob", [1]), run_s=3.0)
    rig.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await rig.used("eve") == 3.0
    assert (await rig.used("ada"), await rig.used("bob")) == (0.25, 0.25)  # their own second runs
    await rig.engine.stop(1)


async def test_a_loss_that_is_noticed_late_costs_no_more_than_max_run_s():
    rig = Rig()
    tasks = await rig.one_batch(("eve", [DIES]), run_s=30.0)
    rig.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await rig.used("eve") == 4.0
    await rig.engine.stop(1)


async def test_who_can_not_be_tried_pays_where_all_others_are_innocent():
    """The attacker sends the row that kills, and hangs up before it can be proven."""
    rig = Rig()
    tasks = await rig.one_batch(("ada", [1]), ("eve", [DIES]), run_s=3.0)
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    rig.gate.set()
    await tasks[0]
    await until(lambda: len(rig.back_end.ran) == 2)
    assert (await rig.used("eve"), await rig.used("ada")) == (3.0, 0.0)
    await rig.engine.stop(1)


async def test_rows_that_must_not_run_twice_share_the_loss():
    """Nobody can be tried."""
    rig = Rig(idempotent=False)
    tasks = await rig.one_batch(("ada", [1]), ("eve", [DIES, 1]), run_s=3.0)
    rig.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (await rig.used("ada"), await rig.used("eve")) == (1.0, 2.0)
    await rig.engine.stop(1)


@pytest.mark.parametrize("predict_s", [float("nan"), float("inf"), -5.0])
async def test_a_time_that_is_none_is_charged_to_nobody(predict_s: float):
    """A worker measures it; a broken one must not break the quotas."""
    rig = Rig(predict_s=predict_s)
    tasks = await rig.one_batch(("ada", [1]), run_s=0.0)
    rig.gate.set()
    await asyncio.gather(*tasks)
    assert await rig.used("ada") == 0.0
    await rig.engine.stop(1)


async def test_who_owes_is_refused_at_the_door():
    rig = Rig(predict_s=90.0)
    tasks = await rig.one_batch(("ada", [1]), run_s=0.0)
    rig.gate.set()
    await asyncio.gather(*tasks)
    with pytest.raises(QuotaExceeded, match="90 of 60 compute-seconds are used") as error:
        await ask(rig.engine, [1], "ada")
    rig.clock.now += error.value.retry_after_s or 0.0
    await ask(rig.engine, [1], "ada")
    await ask(rig.engine, [1], "bob")
    await rig.engine.stop(1)
