"""The pool as `doctor` meets it, over this system's own pipes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes.in_process_back_end import InProcessBackEnd
from tests.fakes.memory_pipes import HeapSections
from tests.rigs.doctor_world import verdicts, world_of
from tests.rigs.engine_questions import catalog_of, until

from torchgate.composition import local_pipes, pool_address, private_folders
from torchgate.contract.diagnosis import Diagnosis
from torchgate.doctor import network_checks
from torchgate.doctor.world import World
from torchgate.engine.link.pool_end import PoolEnd
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings


@asynccontextmanager
async def running_pool(world: World, accounts: tuple[str, ...] = ()) -> AsyncIterator[None]:
    """A pool of one model at the project's address, in this process.

    Args:
        accounts: that it lets in; none: our own.
    """
    pipes, address = local_pipes(), pool_address(world.settings)
    private_folders().make_private(address.folder)
    engine = Scheduler(
        catalog_of("owner"), InProcessBackEnd(), EngineSettings(section_bytes=1 << 20), digest=lambda _: "sha256:0"
    )
    pool = PoolEnd(engine, HeapSections(), program="1.0")
    engine.watch(pool.changed)
    await engine.start()
    pool.start()
    await until(lambda: engine.is_warm)
    listening = await pipes.listen(address, allowed=accounts or (pipes.own_account,), on_connect=pool.connected)
    try:
        yield
    finally:
        listening.close()
        await pool.close()
        await engine.stop(0.0)


def with_pool(folder: Path, more: str = "") -> World:
    return world_of(folder / "project", f'[pool]\nfolder = "{(folder / "meet").as_posix()}"\n{more}')


async def asked(world: World) -> list[Diagnosis]:
    """In a thread, as doctor does: it has a loop of its own."""
    return await asyncio.to_thread(lambda: list(network_checks.pool(world)))


async def test_a_running_pool_is_ok(tmp_path: Path) -> None:
    world = with_pool(tmp_path)
    async with running_pool(world):
        (found,) = await asked(world)
    assert (found.verdict, found.seen) == ("ok", "the pool answers, and holds 1 model version.")


@pytest.mark.linux("uids; on Windows another account's SID needs another account")
async def test_a_pool_that_does_not_let_us_in_is_red(tmp_path: Path) -> None:
    world = with_pool(tmp_path)
    async with running_pool(world, ("uid:4242",)):
        found = await asked(world)
    assert verdicts(found) == ["red"]
    assert "does not admit this account" in found[0].seen


@pytest.mark.linux("uids; on Windows another account's SID needs another account")
async def test_a_pool_of_an_account_that_was_not_named_is_red(tmp_path: Path) -> None:
    world = with_pool(tmp_path, 'owner = "uid:4242"\n')
    async with running_pool(world):
        found = await asked(world)
    assert verdicts(found) == ["red"]
    assert "another account" in found[0].seen
