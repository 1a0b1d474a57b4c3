"""What stands behind a mounted application: a whole gate without a socket, its engine here or in a pool."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Literal, NamedTuple

from torchgate import __version__
from torchgate.composition import (
    ENGINE_STOP_S,
    CannotStart,
    ComposedGate,
    announced_tokens,
    composed_gate,
    opened_audit,
    private_folders,
)
from torchgate.config import Configuration, TorchgateSettings
from torchgate.contract.inference import Engine
from torchgate.gate_app import FIRST_LOOK_S, pool_of
from torchgate.hosting import Hosting
from torchgate.life_cycle import LifeCycle

EngineKind = Literal["own", "pool"]
"""`own`: the workers are this process's children, as of `torchgate serve`; `pool`: another process's, by its pipe."""

_log = logging.getLogger("torchgate.mounted")


class MountedGate(NamedTuple):
    """A gate that is open, and what only its composition knows.

    Args:
        composed: the gate.
        life_cycle: notes what happens to it.
    """

    composed: ComposedGate
    life_cycle: LifeCycle


@asynccontextmanager
async def mounted_gate(
    configuration: Configuration,
    settings: TorchgateSettings,
    kind: EngineKind,
    on_stop: Callable[[], None],
    hosting: Hosting | None = None,
) -> AsyncIterator[MountedGate]:
    """A whole gate for an application around it, for the block: identity, policy, audit, and an engine.

    Args:
        on_stop: is told that the front door asks this process to end.
        hosting: where our own server serves the application: then it says where, and to whom.

    Raises:
        CannotStart: the sentence says why.
    """
    if sys.platform == "win32" and not isinstance(asyncio.get_running_loop(), asyncio.ProactorEventLoop):
        raise CannotStart(
            "the event loop is none with pipes. Start uvicorn with one worker and without --reload, or leave the loop "
            "of asyncio on Windows as it is (ProactorEventLoop)."
        )
    async with AsyncExitStack() as running:
        audit = await running.enter_async_context(opened_audit(settings, private_folders()))
        life_cycle = LifeCycle(audit)
        await running.enter_async_context(life_cycle.of_server(f"{__version__} (mounted)"))
        engine, engine_runs = (_own_engine if kind == "own" else _pool_engine)(configuration, settings, life_cycle)
        composed = await running.enter_async_context(
            composed_gate(configuration, settings, engine, audit, life_cycle, on_stop)
        )
        if hosting is not None:
            await hosting.module_has_looked()
        await running.enter_async_context(engine_runs())
        if hosting is None:
            running.enter_context(announced_tokens(settings, composed.development_tokens, private_folders()))
        for model in engine.models():
            _log.info("Model %s is %s%s", model.ref, model.state, f": {model.reason}" if model.reason else ".")
        yield MountedGate(composed, life_cycle)


_Runs = Callable[[], AbstractAsyncContextManager[None]]


def _own_engine(
    configuration: Configuration, settings: TorchgateSettings, life_cycle: LifeCycle
) -> tuple[Engine, _Runs]:
    # Imported here: an application in front of a pool needs none of it.
    from torchgate.engine.models_watch import ModelsWatch
    from torchgate.engine_composition import built_engine, operating_system

    watch = ModelsWatch(settings.models)
    engine = built_engine(configuration, settings, operating_system()[1], life_cycle)

    @asynccontextmanager
    async def runs() -> AsyncIterator[None]:
        await engine.start()
        async with AsyncExitStack() as loaded:
            loaded.push_async_callback(engine.stop, ENGINE_STOP_S)
            await loaded.enter_async_context(watch.over(engine))
            yield

    return engine, runs


def _pool_engine(
    configuration: Configuration,
    settings: TorchgateSettings,
    life_cycle: LifeCycle,
) -> tuple[Engine, _Runs]:
    engine = pool_of(settings)

    @asynccontextmanager
    async def runs() -> AsyncIterator[None]:
        engine.start()
        try:
            if not await engine.wait_attached(FIRST_LOOK_S):
                _log.warning("There is no pool yet; until one is started every request of a model is answered 503.")
            yield
        finally:
            await engine.stop()

    return engine, runs
