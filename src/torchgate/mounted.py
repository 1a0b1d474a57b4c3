"""Torchgate around an application of the user's own: `gate = torchgate.Gate("project")`, `app = gate.guard(app)`."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

from torchgate.composition import CannotStart, opened_door, run_command
from torchgate.config import Configuration, TorchgateSettings, read_configuration
from torchgate.contract.errors import TorchgateError
from torchgate.gate.asgi import AsgiApplication, GateApp
from torchgate.gate.guarded_wsgi import FlaskApplication, GuardedWsgi, WsgiApplication, note_problem
from torchgate.gate.mounted import Guard, OpenGate, secret_headers
from torchgate.gate.mounted_lifespan import lived
from torchgate.gate.public_paths import PublicPaths
from torchgate.hosting import Hosting
from torchgate.mounted_engine import EngineKind, MountedGate, mounted_gate
from torchgate.start_checks import listener_mistakes, start_mistakes, wsgi_mistakes
from torchgate.terminal import say
from torchgate.wsgi_process import GateProcess, OpenedGate


class Gate:
    """Torchgate of one project, around an application of your own.

    Every path of the application needs a proven principal, but those that you name public; `torchgate.caller()` gives
    the caller to a route. Making a Gate reads nothing and starts nothing: the server's first lifespan event does.

    Args:
        project: a folder with torchgate.toml, or such a file.
        public: paths of yours that need no credential: whole ones (`/about`), or folders (`/static/*`).
        engine: `own`: workers are children of this process; `pool`: those of `torchgate pool`, by its pipe.
        passes_credentials: whether your routes see the headers that their callers proved themselves with.
        on_stop: is called when IIS asks this process to end; None: the process is interrupted as by Ctrl+C.
        settings: `name=value` over those of the file, as `--set` has them.

    Raises:
        ValueError: a public path is none, or the engine has no such kind.
    """

    def __init__(
        self,
        project: str | os.PathLike[str],
        *,
        public: Iterable[str] = (),
        engine: EngineKind = "own",
        passes_credentials: bool = False,
        on_stop: Callable[[], None] | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        if engine not in get_args(EngineKind):
            raise ValueError(f'engine={engine!r}: write "own" or "pool".')
        self._project = Path(project)
        self._public = PublicPaths(public)
        self._engine: EngineKind = engine
        self._passes_credentials = passes_credentials
        self._on_stop = on_stop
        self._settings = tuple(settings)
        self._opened: OpenGate | None = None

    def guard(self, app: AsgiApplication) -> Guard:
        """The application behind the gate, an ASGI application itself; also a middleware: `add_middleware(gate.guard)`.

        Args:
            app: yours: FastAPI, Starlette, any ASGI 3 application.
        """
        return Guard(app, lambda: self._opened, self.started, self._public, passes_credentials=self._passes_credentials)

    def guard_wsgi(self, app: WsgiApplication) -> WsgiApplication:
        """The same for a WSGI application; the gate opens with the first call. Its routes use `blocking_caller`.

        Args:
            app: yours: Flask's `app.wsgi_app`, Django's, any WSGI application.
        """
        guarded = GuardedWsgi(app, self._public, passes_credentials=self._passes_credentials)
        return GateProcess(self._read_for_wsgi, os.environ, guarded=guarded)

    def guard_flask(self, app: FlaskApplication) -> None:
        """The gate around a Flask application, which stays what your server calls.

        What its routes are refused they answer as the gate does, where they do not catch it themselves.

        Args:
            app: yours.
        """
        app.register_error_handler(TorchgateError, note_problem)
        app.wsgi_app = self.guard_wsgi(app.wsgi_app)

    @asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        """The gate, started for the block. What `guard` gives does this by itself where the server sends it lifespan
        events; where the guarded application is mounted in another one, do it in the lifespan of that one.

        Raises:
            CannotStart: the sentence says why, and what to do.
        """
        if self._opened is not None:  # by whoever is around us
            yield
            return
        configuration, settings = self._read()
        async with mounted_gate(configuration, settings, self._engine, self._on_stop or _interrupt) as gate:
            with self._open(gate, settings):
                yield

    def serve(self, app: AsgiApplication) -> int:
        """Run the guarded application on Torchgate's own server, until it is told to stop; the exit code.

        It listens where `gate.bind` or IIS's port says, early, with the limits and TLS of `[gate]`, and takes the
        signals of this process.

        Args:
            app: yours.

        Process: the main thread.
        """
        # Imported here: applications on another's server need no second one.
        from torchgate.gate.early_port import EarlyPort

        with EarlyPort(os.environ) as port:
            return run_command(self._project.absolute(), self._settings, partial(self._serve, app), port)

    async def _serve(
        self, app: AsgiApplication, configuration: Configuration, settings: TorchgateSettings, hosting: Hosting
    ) -> None:
        async with AsyncExitStack() as running:
            gate = await running.enter_async_context(
                mounted_gate(configuration, settings, self._engine, hosting.stop.ask, hosting)
            )
            state: dict[str, Any] = {}
            running.enter_context(self._open(gate, settings, state))
            try:
                await running.enter_async_context(lived(app, state))
            except RuntimeError as error:
                raise CannotStart(str(error)) from None
            door = opened_door(settings, gate.composed, gate.life_cycle, hosting, self.guard(app))
            await running.enter_async_context(door)
            await hosting.stop.wait()
            say("torchgate: stopping; requests that run are finished. A second signal ends everything at once.")

    @contextmanager
    def _open(
        self, gate: MountedGate, settings: TorchgateSettings, state: Mapping[str, Any] | None = None
    ) -> Iterator[None]:
        """Let the guard have the gate, for the block; `state` of the application where our own server serves it."""
        app = gate.composed.app
        secrets = secret_headers(app.front_door, settings.gate.proxy.secret_header)
        self._opened = OpenGate(app, secrets, state is not None, state)
        try:
            yield
        finally:
            self._opened = None

    def _read_for_wsgi(self, environment: Mapping[str, str]) -> OpenedGate:
        configuration = read_configuration(self._project.absolute(), environment, self._settings)
        settings = configuration.settings
        findings = (*start_mistakes(configuration, environment), *wsgi_mistakes(configuration))
        if findings or settings is None:
            raise CannotStart("\n".join(("it does not start with these mistakes:", *map(str, findings))))

        @asynccontextmanager
        async def gate() -> AsyncIterator[GateApp]:
            # Nobody can ask such a process to end by a request: none of its front doors does.
            async with mounted_gate(configuration, settings, self._engine, lambda: None) as opened:
                yield opened.composed.app

        return OpenedGate(gate, settings.gate.drain_s)

    def _read(self) -> tuple[Configuration, TorchgateSettings]:
        configuration = read_configuration(self._project.absolute(), os.environ, self._settings)
        findings = (*start_mistakes(configuration, os.environ), *listener_mistakes(configuration))
        if findings or configuration.settings is None:
            raise CannotStart("\n".join(("it does not start with these mistakes:", *map(str, findings))))
        return configuration, configuration.settings


def _interrupt() -> None:
    """End this process as Ctrl+C would: servers finish what runs. After the answer that is just being given."""
    asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
