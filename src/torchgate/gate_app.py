"""`torchgate gate`: HTTP, identity, policy and audit, in front of a pool that runs by itself; no worker, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from torchgate import __version__
from torchgate.composition import (
    local_pipes,
    opened_audit,
    pool_address,
    private_folders,
    run_command,
    say_models,
    served_over_http,
)
from torchgate.config import Configuration, TorchgateSettings
from torchgate.contract.local_pipes import PeerChannel
from torchgate.engine.link.pool_link import PoolLink
from torchgate.engine.link.remote_engine import RemoteEngine
from torchgate.gate.early_port import EarlyPort
from torchgate.hosting import Hosting
from torchgate.life_cycle import LifeCycle
from torchgate.terminal import say

FIRST_LOOK_S = 1.0
"""For the pool's models to be known before the first request; a gate without its pool starts all the same."""


def run_gate(path: Path, flags: Sequence[str], port: EarlyPort) -> int:
    """Run a gate of a project until it is told to stop; the exit code.

    Args:
        port: on which a module of IIS may be waiting already.

    Process: the main thread.
    """
    return run_command(path, flags, _run, port)


async def _run(configuration: Configuration, settings: TorchgateSettings, hosting: Hosting) -> None:
    async with AsyncExitStack() as running:
        audit = await running.enter_async_context(opened_audit(settings, private_folders()))
        life_cycle = LifeCycle(audit)
        await running.enter_async_context(life_cycle.of_server(f"{__version__} (gate)"))
        engine = pool_of(settings)
        open_door = await running.enter_async_context(
            served_over_http(configuration, settings, engine, audit, life_cycle, hosting)
        )
        engine.start()
        running.push_async_callback(engine.stop)
        if not await engine.wait_attached(FIRST_LOOK_S):
            say("torchgate: there is no pool yet; until one is started every request of a model is answered 503.")
        await running.enter_async_context(open_door())
        say_models(engine.models())
        await hosting.stop.wait()
        say("torchgate: stopping; requests that run are finished. A second signal ends everything at once.")


def pool_of(settings: TorchgateSettings) -> RemoteEngine:
    """The pool of a project as its engine, not started."""
    pipes, address = local_pipes(), pool_address(settings)
    owner = settings.pool.owner_account or pipes.own_account

    async def connect(link: PoolLink) -> PeerChannel:
        return await pipes.connect(address, link, owner=owner)

    return RemoteEngine(connect, program=__version__)
