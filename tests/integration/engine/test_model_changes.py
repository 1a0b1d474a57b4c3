"""Loadings side by side in real workers: deaths in the middle, hand-over, and files that change under a loading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.rigs.changing_models import ChangingModels
from tests.rigs.engine_questions import ask, until
from tests.rigs.local_workers import local_workers
from tests.rigs.processes import kill

from torchgate.contract.errors import LoadFailed, ModelNotReady
from torchgate.engine.catalog import read_catalog, read_model
from torchgate.engine.scheduler import Scheduler

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]

WITHOUT_WEIGHTS = """
import torchgate


class Owner(torchgate.Model):
    def load(self, context):
        raise ValueError("weights are missing")

    def predict(self, batch):
        return {}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def models(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ChangingModels]:
    models = ChangingModels(tmp_path_factory.mktemp("models"), restart_delay_s=0.0, section_bytes=1 << 20)
    models.write("1", mark="first")
    catalog, _ = read_catalog(models.models_settings)
    models.engine = Scheduler(
        catalog,
        local_workers(models.settings),
        models.settings,
        on_lifecycle=models.events.append,
        read=lambda name: read_model(models.models_settings, name),
    )
    await models.engine.start()
    await until(lambda: models.engine.is_warm, 300)
    yield models
    await models.engine.stop(1)


def live(models: ChangingModels) -> list[int]:
    """Processes that hold the version which serves."""
    activation = models.description().activation
    return [worker.pid for worker in models.engine._back_end._versions[activation].live]  # type: ignore[attr-defined]


async def callers(models: ChangingModels, is_over: asyncio.Event, answered: list[int]) -> None:
    number = 0
    while not is_over.is_set():
        number += 1
        try:
            await ask(models.engine, [number], timeout_s=300)
        except ModelNotReady:  # as a gate does: decided anew
            await ask(models.engine, [number], timeout_s=300)
        answered.append(number)


async def test_workers_that_die_in_the_middle_of_a_reload_cost_nobody_an_answer(models: ChangingModels):
    is_over, answered = asyncio.Event(), list[int]()
    asking = [asyncio.create_task(callers(models, is_over, answered)) for _ in range(4)]
    await until(lambda: len(answered) > 20)
    before = models.description()
    loading = asyncio.create_task(models.engine.load("owner", None, by="ops", force=True))
    kill(live(models)[0])
    await loading
    after = models.description()
    assert after.activation > before.activation
    count = len(answered)
    await until(lambda: len(answered) > count + 20)
    is_over.set()
    await asyncio.gather(*asking)
    workers = models.engine._back_end._versions  # type: ignore[attr-defined]
    await until(lambda: list(workers) == [after.activation])


async def test_a_dead_worker_is_not_replaced_from_other_files_and_a_load_serves_them(models: ChangingModels):
    """Nobody may answer in a loading's name from files that it was not made of."""
    before = models.description()
    models.write("1", mark="overwritten in place")
    kill(live(models)[0])
    await until(lambda: not models.description().ready_workers)
    await models.engine.load("owner", None, by="ops")
    assert models.description().digest != before.digest
    await ask(models.engine, [5])
    assert models.description().ready_workers == 1


async def test_a_version_that_can_not_be_loaded_leaves_no_worker_behind(models: ChangingModels):
    folder = models.write("2")
    (folder / "model.py").write_text(WITHOUT_WEIGHTS, encoding="utf-8")
    with pytest.raises(LoadFailed) as failed:
        await models.engine.load("owner", None, by="ops")
    assert "weights are missing" in failed.value.detail
    assert models.default == "1"
    assert len(models.engine._back_end._versions) == 1  # type: ignore[attr-defined]
    await ask(models.engine, [6])
    models.remove("2")
    await models.engine.load("owner", None, by="ops")


async def test_a_hand_over_between_real_workers_keeps_its_callers_waiting_and_answers_them(models: ChangingModels):
    models.configure('reload = "hand_over"')
    await models.engine.load("owner", None, by="ops")
    models.write("2", mark="second")
    is_over, answered = asyncio.Event(), list[int]()
    asking = [asyncio.create_task(callers(models, is_over, answered)) for _ in range(4)]
    await until(lambda: len(answered) > 20)
    await models.engine.load("owner", None, by="ops")
    count = len(answered)
    await until(lambda: len(answered) > count + 20)
    is_over.set()
    await asyncio.gather(*asking)
    assert (models.default, models.description("1").state) == ("2", "unloaded")
    assert len(models.engine._back_end._versions) == 1  # type: ignore[attr-defined]
