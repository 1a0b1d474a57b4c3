"""Loading, unloading and rollback at run time: what callers see is always one whole version, old or new."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.rigs.changing_models import ChangingModels
from tests.rigs.engine_questions import ask, number_request, person, until

from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import Conflict, LoadFailed, ModelNotReady, Overloaded, Unavailable, UnknownModel
from torchgate.contract.inference import ModelChange

OWNER = ModelRef("owner", "1")


@pytest_asyncio.fixture
async def models(tmp_path: Path) -> AsyncIterator[ChangingModels]:
    models = ChangingModels(tmp_path)
    yield models
    await models.engine.stop(1)


async def test_a_new_version_is_loaded_and_becomes_what_a_bare_name_means(models: ChangingModels):
    models.write("1")
    engine = await models.start()
    models.write("2")
    assert engine.resolve("owner", "2") is None
    change = await engine.load("owner", None, by="key:ops")
    assert change == ModelChange("owner", loaded=("2",), unchanged=("1",), default="2")
    assert models.default == "2"
    assert [(one.ref.version, one.is_default) for one in engine.models()] == [("1", False), ("2", True)]
    assert (await ask(engine, [1])).worker == "owner:2/0#1"
    assert any(event.activity == "update" and "key:ops had owner:2 loaded" in event.sentence for event in models.events)


async def test_what_has_not_changed_is_not_loaded_again_unless_forced(models: ChangingModels):
    models.write("1")
    engine = await models.start()
    before = models.description()
    assert (await engine.load("owner", None, by="ops")).unchanged == ("1",)
    assert models.description() == before
    assert (await engine.load("owner", "1", by="ops", force=True)).loaded == ("1",)
    assert models.description().activation > before.activation
    assert models.description().digest == before.digest


async def test_changed_files_of_a_version_are_a_new_loading_with_a_new_digest(models: ChangingModels):
    models.write("1", mark="first")
    engine = await models.start()
    before = models.description()
    models.write("1", mark="second")
    await engine.load("owner", "1", by="ops")
    after = models.description()
    assert after.digest != before.digest
    assert (after.state, after.reason) == ("ready", "")
    await until(lambda: before.activation not in models.back_end.versions)
    assert after.activation in models.back_end.versions


async def test_what_was_admitted_before_the_switch_finishes_where_it_was_admitted(models: ChangingModels):
    models.write("1", mark="first")
    engine = await models.start()
    permit = await engine.admit(OWNER, person("ada"), 64)
    (await permit.reserve(8))[:] = (5).to_bytes(8, "little")
    models.write("1", mark="second")
    await engine.load("owner", None, by="ops")
    newer = models.description()
    assert permit.description.activation != newer.activation
    assert permit.description.digest != newer.digest
    await permit.run(number_request([5], person("ada")))
    assert models.back_end.ran[-1].activation == permit.description.activation
    assert permit.description.activation in models.back_end.versions, "not gone before its last request"
    permit.release()
    await until(lambda: permit.description.activation not in models.back_end.versions)


async def test_while_a_version_warms_the_old_one_serves_and_the_server_stays_warm(models: ChangingModels):
    models.write("1")
    engine = await models.start()
    models.back_end.loading = asyncio.Event()
    models.write("2")
    loading = asyncio.create_task(engine.load("owner", None, by="ops"))
    await until(lambda: len(engine.models()) == 2)
    assert models.description("2").state == "loading"
    assert models.default == "1"
    assert engine.is_warm
    await ask(engine, [1])
    models.back_end.loading.set()
    await loading
    assert models.default == "2"


@pytest.mark.parametrize("trouble", ["does not load", "wrong golden answer", "golden.json is no JSON"])
async def test_what_fails_leaves_what_serves_as_it_was_and_says_why(models: ChangingModels, trouble: str):
    models.write("1", mark="good")
    models.golden("1", answer=9)
    engine = await models.start()
    before = models.description()
    models.write("1", mark="bad")
    models.write("2", mark="bad")
    if trouble == "does not load":
        models.configure("[parameters]\nfails = true\n")
        text = (models.folder / "owner" / "model.toml").read_text(encoding="utf-8")
        lines = text.replace("[parameters]\nfails = true\n", "")
        (models.folder / "owner" / "model.toml").write_text(f"{lines}\n[parameters]\nfails = true\n", encoding="utf-8")
        reason = "it is broken"
    elif trouble == "wrong golden answer":
        models.golden("1", answer=10)
        models.golden("2", answer=10)
        reason = "golden.json as it must: output 'double' is another"
    else:
        for version in ("1", "2"):
            (models.folder / "owner" / version / "golden.json").write_text("nonsense", encoding="utf-8")
        reason = "golden.json is not what it must be"
    with pytest.raises(LoadFailed, match="What was served before still is") as failed:
        await engine.load("owner", None, by="ops")
    assert reason in failed.value.detail
    assert str(models.folder) not in failed.value.sentence
    after = models.description()
    assert (after.activation, after.state, after.digest) == (before.activation, "ready", before.digest)
    assert reason in after.reason
    assert models.description("2").state == "failed"
    assert models.default == "1"
    await ask(engine, [1])
    assert list(models.back_end.versions) == [before.activation], "what failed has given everything back"
    assert any(event.activity == "failure" and "ops wanted" in event.sentence for event in models.events)
    models.configure("")
    models.write("1", mark="good")
    models.remove("2")
    models.golden("1", answer=9)
    await engine.load("owner", None, by="ops")
    assert models.description().reason == ""


async def test_a_golden_answer_is_examined_at_the_start_too(models: ChangingModels):
    models.write("1")
    models.golden("1", answer=8)
    engine = await models.start()
    assert models.description().state == "failed"
    with pytest.raises(ModelNotReady):
        await engine.admit(OWNER, person("ada"), 1)
    assert models.back_end.versions == {}
    models.golden("1", answer=9)
    await engine.load("owner", None, by="ops")
    await ask(engine, [1])


async def test_a_broken_model_toml_keeps_what_serves(models: ChangingModels):
    models.write("1")
    engine = await models.start()
    (models.folder / "owner" / "model.toml").write_text("[[inputs]\n", encoding="utf-8")
    with pytest.raises(LoadFailed):
        await engine.load("owner", None, by="ops")
    assert models.description().state == "ready"
    assert "what lies on disk now is not served" in models.description().reason
    await ask(engine, [1])


async def test_unloading_the_newest_is_a_rollback(models: ChangingModels):
    models.write("1")
    models.write("2")
    engine = await models.start()
    assert models.default == "2"
    change = await engine.unload("owner", "2", by="key:ops")
    assert change == ModelChange("owner", unloaded=("2",), default="1")
    assert (await ask(engine, [1])).worker.startswith("owner:1/")
    with pytest.raises(ModelNotReady):
        await engine.admit(ModelRef("owner", "2"), person("ada"), 1)
    assert len(models.back_end.versions) == 1
    await engine.load("owner", "2", by="ops")
    assert models.default == "2"


async def test_a_pin_decides_and_moving_it_is_a_rollback(models: ChangingModels):
    models.write("1")
    models.write("2")
    engine = await models.start()
    activations = {one.ref: one.activation for one in engine.models()}
    models.configure('default_version = "1"')
    assert (await engine.load("owner", None, by="ops")).default == "1"
    assert {one.ref: one.activation for one in engine.models()} == activations, "nothing is loaded for it"
    models.write("3")
    assert (await engine.load("owner", None, by="ops")).default == "1"
    await engine.unload("owner", "1", by="ops")
    assert models.default == "1", "a pin is a promise: no other version answers in its place"


async def test_a_pin_on_what_fails_takes_nothing_away(models: ChangingModels):
    models.write("1")
    engine = await models.start()
    models.write("2")
    models.golden("2", answer=1)
    models.configure('default_version = "2"')
    with pytest.raises(LoadFailed):
        await engine.load("owner", None, by="ops")
    assert models.default == "1"
    await ask(engine, [1])


async def test_after_a_restart_a_bare_name_means_what_it_meant_before(models: ChangingModels):
    """The newest version can't be loaded: before the restart the one below answered, and so it does after."""
    models.write("1")
    models.write("2")
    models.golden("2", answer=1)
    await models.start()
    assert models.default == "1"


async def test_unloading_waits_for_what_was_admitted_and_takes_no_more(models: ChangingModels):
    models.write("1")
    engine = await models.start()
    permit = await engine.admit(OWNER, person("ada"), 64)
    (await permit.reserve(8))[:] = (5).to_bytes(8, "little")
    unloading = asyncio.create_task(engine.unload("owner", None, by="ops"))
    await until(lambda: models.description().state == "unloading")
    with pytest.raises(ModelNotReady):
        await engine.admit(OWNER, person("late"), 1)
    await permit.run(number_request([5], person("ada")))
    assert not unloading.done()
    permit.release()
    assert (await unloading).unloaded == ("1",)
    assert models.description().state == "unloaded"
    assert "ops" in models.description().reason
    assert models.back_end.versions == {}
    await engine.load("owner", None, by="ops")
    await ask(engine, [1])


async def test_two_changes_of_one_model_at_once_are_a_conflict(models: ChangingModels):
    models.write("1")
    models.write("1", name="other")
    engine = await models.start()
    models.back_end.loading = asyncio.Event()
    loading = asyncio.create_task(engine.load("owner", None, by="ops", force=True))
    await asyncio.sleep(0)
    with pytest.raises(Conflict):
        await engine.load("owner", None, by="ops")
    with pytest.raises(Conflict):
        await engine.unload("owner", None, by="ops")
    await engine.unload("other", None, by="ops")
    models.back_end.loading.set()
    await loading


async def test_a_caller_that_gives_up_does_not_end_a_loading(models: ChangingModels):
    models.write("1")
    engine = await models.start()
    models.back_end.loading = asyncio.Event()
    models.write("2")
    loading = asyncio.create_task(engine.load("owner", None, by="ops"))
    await until(lambda: len(engine.models()) == 2)
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    models.back_end.loading.set()
    await until(lambda: models.default == "2")


@pytest.mark.parametrize("name", ["nobody", "Owner", "..", "owner/../owner", "", ".git"])
async def test_what_has_no_folder_of_exactly_this_name_is_unknown(models: ChangingModels, name: str):
    models.write("1")
    (models.folder / ".git" / "1").mkdir(parents=True)
    engine = await models.start()
    for version in (None, "1"):
        with pytest.raises(UnknownModel):
            await engine.load(name, version, by="eve")
        with pytest.raises(UnknownModel):
            await engine.unload(name, version, by="eve")
    with pytest.raises(UnknownModel):
        await engine.load("owner", "../1", by="eve")


async def test_code_that_nobody_allowed_is_not_loaded_at_run_time_either(models: ChangingModels):
    engine = await models.start()
    models.write("1", name="stranger")
    with pytest.raises(LoadFailed, match="Nothing of this model is served"):
        await engine.load("stranger", None, by="ops")
    assert "allow_code" in models.description(name="stranger").reason
    assert models.back_end.versions == {}


async def test_a_version_whose_folder_is_gone_goes_when_the_model_is_loaded(models: ChangingModels):
    models.write("1")
    models.write("2")
    engine = await models.start()
    models.remove("2")
    assert (await engine.load("owner", None, by="ops")).unloaded == ("2",)
    assert engine.describe(ModelRef("owner", "2")) is None
    assert models.default == "1"
    await until(lambda: len(models.back_end.versions) == 1)


async def test_a_model_whose_folder_is_gone_is_not_unloaded_by_a_load(models: ChangingModels):
    """A network share that is away must take nothing out of service."""
    models.write("1")
    engine = await models.start()
    models.remove()
    with pytest.raises(UnknownModel):
        await engine.load("owner", None, by="ops")
    await ask(engine, [1])
    await engine.forget("owner", by="watch")
    assert engine.models() == ()
    assert engine.resolve("owner", None) is None
    await until(lambda: not models.back_end.versions)


async def test_a_load_that_does_not_fit_is_refused_early_with_the_numbers(tmp_path: Path):
    models = ChangingModels(tmp_path, memory_bytes=5 << 20)
    models.configure("memory_bytes = 3145728")
    models.write("1")
    engine = await models.start()
    models.write("2")
    with pytest.raises(LoadFailed) as failed:
        await engine.load("owner", None, by="ops")
    assert "it needs 3 MiB, and of 5 MiB (engine.memory_bytes) 3 MiB are taken: owner:1 3 MiB" in failed.value.detail
    assert models.description("2").state == "failed"
    assert len(models.back_end.versions) == 1, "nothing was begun"
    await ask(engine, [1])
    await engine.unload("owner", "1", by="ops")
    await engine.load("owner", "2", by="ops")
    assert (await ask(engine, [1])).worker.startswith("owner:2/")
    await engine.stop(1)


async def test_at_the_start_defaults_come_first_where_memory_is_scarce(tmp_path: Path):
    models = ChangingModels(tmp_path, memory_bytes=5 << 20)
    models.configure("memory_bytes = 3145728")
    models.write("1")
    models.write("2")
    engine = await models.start()
    assert [(one.ref.version, one.state) for one in engine.models()] == [("1", "failed"), ("2", "ready")]
    assert "it needs 3 MiB" in models.description("1").reason
    await engine.stop(1)


HAND_OVER = 'reload = "hand_over"\nmemory_bytes = 3145728'


async def hand_over_models(folder: Path) -> ChangingModels:
    """Room for one version alone."""
    models = ChangingModels(folder, memory_bytes=5 << 20)
    models.configure(HAND_OVER)
    models.write("1")
    await models.start()
    return models


async def ask_as_a_gate_does(models: ChangingModels, number: int) -> str:
    """One question to the bare name, decided anew where the version went; the version that answered."""
    try:
        worker = (await ask(models.engine, [number])).worker
    except ModelNotReady:
        worker = (await ask(models.engine, [number])).worker
    return worker.partition("/")[0]


async def test_in_a_hand_over_the_old_goes_first_and_requests_wait(tmp_path: Path):
    models = await hand_over_models(tmp_path)
    models.write("2")
    models.back_end.loading = asyncio.Event()
    loading = asyncio.create_task(models.engine.load("owner", None, by="ops"))
    await until(lambda: len(models.engine.models()) == 2)
    assert models.back_end.versions == {}, "never two at once"
    asked = [asyncio.create_task(ask_as_a_gate_does(models, number)) for number in range(20)]
    await asyncio.sleep(0.01)
    assert not any(one.done() for one in asked)
    models.back_end.loading.set()
    await loading
    assert set(await asyncio.gather(*asked)) == {"owner:2"}
    assert models.description("1").state == "unloaded"
    assert models.default == "2"
    await models.engine.stop(1)


async def test_a_hand_over_in_vain_brings_the_old_one_back(tmp_path: Path):
    models = await hand_over_models(tmp_path)
    models.write("2")
    models.golden("2", answer=1)
    loading = asyncio.create_task(models.engine.load("owner", None, by="ops"))
    await asyncio.sleep(0)
    asked = [asyncio.create_task(ask_as_a_gate_does(models, number)) for number in range(20)]
    with pytest.raises(LoadFailed, match="What was served before still is"):
        await loading
    assert set(await asyncio.gather(*asked)) == {"owner:1"}
    assert models.default == "1"
    assert "could not take its place" in models.description("1").reason
    assert models.description("2").state == "failed"
    await models.engine.stop(1)


async def test_as_many_wait_for_a_hand_over_as_may(tmp_path: Path):
    models = ChangingModels(tmp_path, max_queue_requests=2)
    models.configure(HAND_OVER)
    models.write("1")
    engine = await models.start()
    models.back_end.loading = asyncio.Event()
    loading = asyncio.create_task(engine.load("owner", None, by="ops", force=True))
    await until(lambda: not models.back_end.versions)
    waiting = [asyncio.create_task(ask(engine, [number])) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="as many requests wait") as refused:
        await ask(engine, [3])
    assert refused.value.retry_after_s
    models.back_end.loading.set()
    await loading
    await asyncio.gather(*waiting)
    await engine.stop(1)


async def test_under_load_no_answer_fails_and_each_comes_from_a_version_that_was_served(models: ChangingModels):
    models.write("1")
    engine = await models.start()
    answers: Counter[str] = Counter()
    is_over = False

    async def caller(key: str) -> None:
        number = 0
        while not is_over:
            number += 1
            before = models.default
            worker = (await ask(engine, [number], key)).worker
            assert worker.partition("/")[0].removeprefix("owner:") in {before, models.default}
            answers[worker.partition("/")[0]] += 1
            # A real worker answers from another process, and the loop waits for it. One that never waits
            # hardly ever leaves the interpreter to the thread that reads the models' folder.
            await asyncio.to_thread(int)

    callers = [asyncio.create_task(caller(f"p{index}")) for index in range(8)]
    for mark in range(3):
        models.write("1", mark=f"again {mark}")
        await engine.load("owner", None, by="ops")
        await ask(engine, [1])
    models.write("2")
    await engine.load("owner", None, by="ops")
    await until(lambda: answers["owner:2"] > 50)
    await engine.unload("owner", "2", by="ops")
    count = answers["owner:1"]
    await until(lambda: answers["owner:1"] > count + 50)
    is_over = True
    await asyncio.gather(*callers)
    await until(lambda: len(models.back_end.versions) == 1)


async def test_stopping_ends_what_is_leaving(models: ChangingModels):
    models.write("1")
    engine = await models.start()
    permit = await engine.admit(OWNER, person("slow"), 8)
    models.write("1", mark="again")
    await engine.load("owner", None, by="ops")
    await engine.stop(0.01)
    assert models.back_end.versions == {}
    permit.release()


async def test_a_version_that_failed_while_it_served_gives_way_to_a_load(models: ChangingModels):
    """Its workers died too often; the back end would try again, and still has its memory."""
    models.write("1")
    engine = await models.start()
    before = models.description()
    models.back_end.versions[before.activation].listener("failed", "its workers died 11 times", 0)
    assert models.description().state == "failed"
    assert (await engine.load("owner", None, by="ops")).loaded == ("1",)
    await ask(engine, [1])
    await until(lambda: list(models.back_end.versions) == [models.description().activation])
    assert engine._repository._budget._held.keys() == models.back_end.versions.keys()


async def test_a_change_that_a_stop_ends_says_so(models: ChangingModels):
    models.write("1")
    engine = await models.start()
    models.back_end.loading = asyncio.Event()
    loading = asyncio.create_task(engine.load("owner", None, by="ops", force=True))
    await until(lambda: bool(engine._repository._budget._held) and len(engine._repository._budget._held) == 2)
    await engine.stop(0.1)
    with pytest.raises(Unavailable, match="stopping"):
        await loading
