"""The gate as a WSGI application: `WSGI_HANDLER=torchgate.wsgi.application` behind IIS's FastCGI module.

Each process that the server starts has a whole gate: identity, policy, audit. The models run apart (`torchgate pool`),
so that eight processes hold them once. Importing this does nothing; the gate opens with the first call.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from torchgate import __version__
from torchgate.composition import CannotStart, composed_gate, opened_audit, private_folders
from torchgate.config import Configuration, TorchgateSettings, read_configuration
from torchgate.gate.asgi import GateApp
from torchgate.gate_app import FIRST_LOOK_S, pool_of
from torchgate.life_cycle import LifeCycle
from torchgate.start_checks import caller_mistakes, start_mistakes
from torchgate.telemetry.log_setup import set_up_logging
from torchgate.wsgi_log import ServersLog
from torchgate.wsgi_process import GateProcess, OpenedGate

PROJECT_VARIABLE = "TORCHGATE_PROJECT"
"""Names the project's folder, or its torchgate.toml; wfastcgi takes it from the application settings of web.config."""


def _open(environment: Mapping[str, str]) -> OpenedGate:
    """What a process of this project opens at its first call.

    Raises:
        CannotStart: the project is not named, or has mistakes.
    """
    named = environment.get(PROJECT_VARIABLE)
    if not named:
        raise CannotStart(
            f"nothing says where the project is. Set {PROJECT_VARIABLE} to its folder, "
            "in <appSettings> of web.config or in the environment"
        )
    configuration = read_configuration(Path(named), environment)
    findings = (*start_mistakes(configuration, environment), *caller_mistakes(configuration))
    settings = configuration.settings
    if findings or settings is None:
        raise CannotStart(" ".join(map(str, findings)))
    set_up_logging(settings.telemetry, ServersLog(environment))
    return OpenedGate(lambda: _gate(configuration, settings), settings.gate.drain_s)


@asynccontextmanager
async def _gate(configuration: Configuration, settings: TorchgateSettings) -> AsyncIterator[GateApp]:
    async with AsyncExitStack() as running:
        audit = await running.enter_async_context(opened_audit(settings, private_folders()))
        life_cycle = LifeCycle(audit)
        await running.enter_async_context(life_cycle.of_server(f"{__version__} (wsgi)"))
        engine = pool_of(settings)
        # There is nobody to tell that we should end: whoever calls us ends us.
        gate = await running.enter_async_context(
            composed_gate(configuration, settings, engine, audit, life_cycle, lambda: None)
        )
        engine.start()
        running.push_async_callback(engine.stop)
        await engine.wait_attached(FIRST_LOOK_S)
        yield gate.app


application = GateProcess(_open, os.environ)
"""What a WSGI server calls."""
