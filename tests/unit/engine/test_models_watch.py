"""The watch over the models' folder: what has changed and come to rest is loaded, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from tests.rigs.changing_models import ChangingModels
from tests.rigs.engine_questions import ask, until

from torchgate.contract.decision import ModelRef
from torchgate.engine.models_watch import Looks, ModelsWatch


def test_what_changes_from_look_to_look_is_left_alone_until_it_rests():
    looks = Looks({"a": "1"})
    assert looks.see({"a": "1"}) == ([], [])
    assert looks.see({"a": "2"}) == ([], [])
    assert looks.see({"a": "3"}) == ([], [])
    assert looks.see({"a": "3"}) == (["a"], [])
    looks.acted("a")
    assert looks.see({"a": "3"}) == ([], [])
    assert looks.see({"a": "1"}) == ([], [])
    assert looks.see({"a": "1"}) == (["a"], []), "back to what it was is a change, too"


def test_what_could_not_be_acted_on_is_seen_again():
    looks = Looks({})
    looks.see({"a": "1"})
    assert looks.see({"a": "1"}) == (["a"], [])
    assert looks.see({"a": "1"}) == (["a"], [])


def test_what_is_missing_once_is_not_gone_yet():
    looks = Looks({"a": "1", "b": "1"})
    assert looks.see({"b": "1"}) == ([], [])
    assert looks.see({"a": "1", "b": "1"}) == ([], [])
    assert looks.see({"b": "1"}) == ([], [])
    assert looks.see({"b": "1"}) == ([], ["a"])
    looks.acted("a")
    assert looks.see({"b": "1"}) == ([], [])


class Watched(ChangingModels):
    """Looked at when the test says so."""

    async def watch(self) -> None:
        """Begin."""
        settings = self.models_settings.model_copy(update={"watch_interval_s": 1.0})
        self._watch = ModelsWatch(settings)
        await self.start()

    async def look(self, times: int = 1) -> None:
        """So many looks."""
        for _ in range(times):
            await self._watch.look_once(self.engine)


@pytest_asyncio.fixture
async def models(tmp_path: Path) -> AsyncIterator[Watched]:
    models = Watched(tmp_path)
    yield models
    await models.engine.stop(1)


async def test_a_change_is_loaded_at_the_second_look_that_sees_it(models: Watched):
    models.write("1", mark="first")
    await models.watch()
    before = models.description()
    await models.look(3)
    assert models.description() == before
    models.write("1", mark="second, and longer")
    await models.look()
    assert models.description() == before
    await models.look()
    assert models.description().digest != before.digest
    await ask(models.engine, [1])


async def test_a_slow_copy_is_not_loaded_before_it_is_whole(models: Watched):
    models.write("1")
    await models.watch()
    whole = (models.folder / "owner" / "1" / "model.py").read_text(encoding="utf-8")
    target = models.folder / "owner" / "2" / "model.py"
    target.parent.mkdir()
    for end in range(1, len(whole), len(whole) // 5):
        target.write_text(whole[:end], encoding="utf-8")
        await models.look()
        assert models.engine.describe(ModelRef("owner", "2")) is None
        assert models.default == "1"
    target.write_text(whole, encoding="utf-8")
    await models.look(2)
    assert models.default == "2"
    await ask(models.engine, [1])


async def test_a_bad_change_keeps_the_old_and_is_tried_once(models: Watched):
    models.write("1")
    await models.watch()
    good = (models.folder / "owner" / "model.toml").read_text(encoding="utf-8")
    (models.folder / "owner" / "model.toml").write_text("nonsense", encoding="utf-8")
    await models.look(3)
    assert "what lies on disk now is not served" in models.description().reason
    assert sum(event.activity == "failure" for event in models.events) == 1
    await ask(models.engine, [1])
    (models.folder / "owner" / "model.toml").write_text(good, encoding="utf-8")
    await models.look(2)
    assert models.description().reason == ""


async def test_models_come_and_go_with_their_folders(models: Watched):
    models.write("1")
    await models.watch()
    models.write("1", name="other")
    await models.look(2)
    assert models.description(name="other").state == "ready"
    models.remove()
    await models.look(2)
    assert models.engine.resolve("owner", None) is None
    await until(lambda: len(models.back_end.versions) == 1)


async def test_a_repository_that_is_away_takes_nothing_out_of_service(models: Watched):
    models.write("1")
    await models.watch()
    models.folder.rename(models.folder.with_name("away"))
    await models.look(3)
    await ask(models.engine, [1])
    models.folder.with_name("away").rename(models.folder)


async def test_what_a_person_unloaded_stays_so_until_its_own_files_change(models: Watched):
    models.write("1")
    models.write("2")
    await models.watch()
    await models.engine.unload("owner", "2", by="key:ops")
    models.write("3")
    await models.look(2)
    assert [(one.ref.version, one.state) for one in models.engine.models()] == [
        ("1", "ready"),
        ("2", "unloaded"),
        ("3", "ready"),
    ]
    models.write("2", mark="mended")
    await models.look(2)
    assert models.description("2").state == "ready"


async def test_it_looks_as_often_as_it_is_told_until_the_block_ends(models: Watched):
    models.write("1")
    await models.start()
    watch = ModelsWatch(models.models_settings.model_copy(update={"watch_interval_s": 0.01}))
    async with watch.over(models.engine):
        models.write("2")
        await until(lambda: models.default == "2")
