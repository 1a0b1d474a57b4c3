"""Whatever is done to a repository in whatever order: a name means what is ready, and what is gone holds nothing."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rigs.changing_models import ChangingModels
from tests.rigs.engine_questions import ask, until

from torchgate.contract.errors import TorchgateError

STEPS = st.tuples(
    st.sampled_from(["write", "break", "remove", "pin", "load", "load one", "reload", "unload one", "unload", "watch"]),
    st.integers(1, 3),
    st.integers(0, 5),
)


def touch(models: ChangingModels, what: str, version: str, mark: int) -> None:
    """Change the folder."""
    if what == "write":
        models.write(version, mark=str(mark))
        models.golden(version, answer=9)
    elif what == "break":
        models.write(version)
        models.golden(version, answer=mark)
    elif what == "pin":
        models.configure(f'default_version = "{version}"' if mark else "")
    elif (models.folder / "owner" / version).exists():
        models.remove(version)


async def step(models: ChangingModels, what: str, version: str, mark: int) -> None:
    """Do it; what the engine refuses is refused."""
    engine = models.engine
    if what == "load":
        await engine.load("owner", None, by="ops")
    elif what == "load one":
        await engine.load("owner", version, by="ops")
    elif what == "reload":
        await engine.load("owner", None, by="ops", force=True)
    elif what.startswith("unload"):
        await engine.unload("owner", version if what == "unload one" else None, by="ops")
    elif what == "watch":
        await engine.refresh("owner", by="watch")
    else:
        touch(models, what, version, mark)


async def check(models: ChangingModels) -> None:
    """What holds at any time when nothing is under way."""
    repository = models.engine._repository
    await until(lambda: not repository._leaving.versions)
    descriptions = models.engine.models()
    ready = {one.ref.version: one for one in descriptions if one.state == "ready"}
    assert not any(one.state in ("loading", "unloading") for one in descriptions)
    assert set(models.back_end.versions) == {one.activation for one in ready.values()}, "nothing else is loaded"
    assert set(repository._budget._held) == set(models.back_end.versions), "and nothing else is counted"
    assert sum(one.is_default for one in descriptions) <= 1
    pinned = repository.models._pinned.get("owner")
    if pinned is None and ready:
        assert models.default == max(ready), "a bare name means the highest that is ready"
    if models.default in ready:
        assert (await ask(models.engine, [1])).worker == f"owner:{models.default}/0#1"
        assert ready[models.default].is_default


async def play(folder: Path, steps: list[tuple[str, int, int]]) -> None:
    models = ChangingModels(folder)
    models.write("1")
    await models.start()
    await check(models)
    for what, version, mark in steps:
        before = {one.ref: one for one in models.engine.models() if one.state == "ready"}
        try:
            await step(models, what, str(version), mark)
        except TorchgateError:
            after = {one.ref: one for one in models.engine.models() if one.state == "ready"}
            assert before.keys() <= after.keys() | {
                ref for ref in before if not (folder / "owner" / ref.version).exists()
            }
        await check(models)
    await models.engine.stop(1)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_any_sequence_of_changes_leaves_whole_versions_and_no_rest(steps: list[tuple[str, int, int]]):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), steps))
