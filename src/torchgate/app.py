"""`torchgate serve`: gate and engine in one process, its workers as children."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from torchgate import __version__
from torchgate.composition import (
    ENGINE_STOP_S,
    opened_audit,
    private_folders,
    run_command,
    say_models,
    served_over_http,
)
from torchgate.config import Configuration, TorchgateSettings
from torchgate.engine.models_watch import ModelsWatch
from torchgate.engine_composition import built_engine, operating_system
from torchgate.gate.early_port import EarlyPort
from torchgate.hosting import Hosting
from torchgate.life_cycle import LifeCycle
from torchgate.terminal import say


def serve(path: Path, flags: Sequence[str], port: EarlyPort) -> int:
    """Run the server of a project until it is told to stop; the exit code.

    Args:
        port: on which a module of IIS may be waiting already.

    Process: the main thread.
    """
    return run_command(path, flags, _run, port)


async def _run(configuration: Configuration, settings: TorchgateSettings, hosting: Hosting) -> None:
    sections = operating_system()[1]
    async with AsyncExitStack() as running:
        audit = await running.enter_async_context(opened_audit(settings, private_folders()))
        life_cycle = LifeCycle(audit)
        await running.enter_async_context(life_cycle.of_server(__version__))
        watch = ModelsWatch(settings.models)
        engine = built_engine(configuration, settings, sections, life_cycle)
        async with served_over_http(configuration, settings, engine, audit, life_cycle, hosting) as open_door:
            await hosting.module_has_looked()
            await engine.start()
            async with AsyncExitStack() as loaded:
                loaded.push_async_callback(engine.stop, ENGINE_STOP_S)
                await loaded.enter_async_context(watch.over(engine))
                await loaded.enter_async_context(open_door())
                say_models(engine.models())
                await hosting.stop.wait()
                say("torchgate: stopping; requests that run are finished. A second signal ends everything at once.")
