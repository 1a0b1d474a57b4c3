"""What the commands that run for long are composed of: each piece opens something and closes it again.

A gate imports this, and is to answer within a second of its start: what only engine and workers need stands in
engine_composition.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torchgate import __version__
from torchgate.access.build import build_access
from torchgate.access.identity.protected_resource import resource_document
from torchgate.access.identity.refusals import RefusalLimiter
from torchgate.access.neighbours import AccessNeighbours
from torchgate.access.secrets.live_secrets import LiveSecrets, SecretsMissing
from torchgate.config import Configuration, TorchgateSettings, read_configuration
from torchgate.contract.audit_event import RequestEvent
from torchgate.contract.clock import monotonic_s
from torchgate.contract.inference import Engine, ModelDescription
from torchgate.contract.kerberos import KerberosAcceptor
from torchgate.contract.local_pipes import LocalPipes, PipeAddress
from torchgate.contract.os_services import PrivateFolders
from torchgate.development import new_tokens
from torchgate.front_door_setup import front_door_of
from torchgate.gate.asgi import AsgiApplication, GateApp
from torchgate.gate.door_parts import effective_bind
from torchgate.gate.early_port import EarlyPort
from torchgate.gate.front_door import FrontDoor
from torchgate.gate.http_server import HttpServer
from torchgate.gate.services import GateServices
from torchgate.gate.settings import host_and_port, is_unix
from torchgate.hosting import Hosting
from torchgate.kerberos_places import kerberos_acceptor
from torchgate.life_cycle import LifeCycle
from torchgate.own_tls import OwnTls
from torchgate.patient_output import patient_output
from torchgate.policy_reload import Access, Build, PolicyReload
from torchgate.project import RunningServer, announce_server, withdraw_server, withdraw_tokens, write_tokens
from torchgate.secret_places import kept_secrets, private_files
from torchgate.start_checks import listener_mistakes, start_mistakes
from torchgate.stop_signals import StopSignals
from torchgate.telemetry.audit_trail import AuditTrail
from torchgate.telemetry.log_setup import set_up_logging
from torchgate.telemetry.metrics import Metrics
from torchgate.telemetry.request_log import RequestLog
from torchgate.telemetry.signing_key import open_signer
from torchgate.terminal import fail, note, say
from torchgate.windows_here import console_events, windows_accounts

_log = logging.getLogger("torchgate.app")
_PIPE_NAME = "pool"
ENGINE_STOP_S = 0.5
"""For what still runs when the gate has drained, cut and cancelled: calls of the user's app beside its requests."""


Main = Callable[[Configuration, TorchgateSettings, Hosting], Coroutine[Any, Any, None]]
"""What a command does between its beginning and the first signal."""


class CannotStart(Exception):
    """Why the server does not start; the text is for the person at the terminal or in the log."""


def run_command(path: Path, flags: Sequence[str], main: Main, port: EarlyPort | None = None) -> int:
    """Run a command of a project until it is told to stop; the exit code.

    Args:
        port: on which a module of IIS may be waiting already; None: this command listens for no requests.

    Process: the main thread.
    """
    with patient_output():
        return _run_command(path, flags, main, port)


def _run_command(path: Path, flags: Sequence[str], main: Main, port: EarlyPort | None) -> int:
    configuration = read_configuration(path, os.environ, flags)
    findings = list(start_mistakes(configuration, os.environ, has_door=port is not None))
    if port is not None:
        findings += listener_mistakes(configuration)
    if findings or configuration.settings is None:
        for finding in findings:
            note(str(finding))
        return fail("it does not start with these mistakes. `torchgate check` examines the rest, too.")
    set_up_logging(configuration.settings.telemetry)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            stop = StopSignals(runner.get_loop())
            stop.install()
            hosting = Hosting(stop, port or EarlyPort({}))
            hosting.warn_of_job()
            with console_events(stop.ask_from_anywhere):
                runner.run(main(configuration, configuration.settings, hosting))
    except CannotStart as error:
        return fail(str(error))
    return 0


@asynccontextmanager
async def served_over_http(
    configuration: Configuration,
    settings: TorchgateSettings,
    engine: Engine,
    audit: AuditTrail,
    life_cycle: LifeCycle,
    hosting: Hosting,
) -> AsyncIterator[Callable[[], AbstractAsyncContextManager[None]]]:
    """Everything between HTTP and an engine; what is given opens the door for its block, once the engine is started."""
    async with composed_gate(configuration, settings, engine, audit, life_cycle, hosting.stop.ask) as gate:
        yield partial(opened_door, settings, gate, life_cycle, hosting)


@dataclass(frozen=True)
class ComposedGate:
    """A gate without a socket: whoever has it brings requests to it.

    Args:
        app: answers them.
        secrets: kept fresh while it is there.
        development_tokens: name of a development identity -> its token.
    """

    app: GateApp
    secrets: LiveSecrets
    development_tokens: Mapping[str, str] = field(repr=False)


@asynccontextmanager
async def composed_gate(
    configuration: Configuration,
    settings: TorchgateSettings,
    engine: Engine,
    audit: AuditTrail,
    life_cycle: LifeCycle,
    on_stop: Callable[[], None],
) -> AsyncIterator[ComposedGate]:
    """Identity, policy and audit in front of an engine, for the block.

    Args:
        on_stop: is told that the front door asks this process to end.
    """
    async with AsyncExitStack() as running:
        tokens = new_tokens(settings)
        secrets = await running.enter_async_context(opened_secrets(configuration, settings, life_cycle))
        neighbours = AccessNeighbours(secrets, windows_accounts(), opened_kerberos(configuration, settings))
        build = partial(build_access, development_tokens=tokens, on_lifecycle=life_cycle.note, neighbours=neighbours)
        access = await opened_access(configuration, build)
        policy = PolicyReload(configuration, access, build, audit)
        running.push_async_callback(policy.stop)
        refusals = _refusals(settings)
        metrics = Metrics(
            engine.models, audit.statistics, policy=policy.status, version=__version__, secrets=secrets.statuses
        )
        services = GateServices(
            settings=settings.gate,
            front_door=_front_door(settings, secrets, engine),
            engine=engine,
            authentication=access[0],
            authorisation=access[1],
            refusals=refusals,
            audit=audit,
            on_request=_recorder(RequestLog(), metrics),
            render_metrics=_exposition(metrics, engine),
            server_version=__version__,
            clock=monotonic_s,
            wall_clock=time.time,
            resource_metadata=resource_document(settings.identity.resource, settings.identity.oidc),
            policy=policy,
            on_stop=on_stop,
        )
        app = GateApp(services)
        await running.enter_async_context(life_cycle.watching(refusals, metrics.record_refusals))
        await running.enter_async_context(policy.watching(app.change_access))
        yield ComposedGate(app, secrets, tokens)


@asynccontextmanager
async def opened_door(
    settings: TorchgateSettings,
    gate: ComposedGate,
    life_cycle: LifeCycle,
    hosting: Hosting,
    app: AsgiApplication | None = None,
) -> AsyncIterator[None]:
    """Our own server on the configured address, for the block.

    Args:
        app: answers the requests; None: the gate alone does.
    """
    bind = effective_bind(settings.gate, os.environ)
    async with AsyncExitStack() as door:
        tls = await door.enter_async_context(opened_tls(settings, gate.secrets, life_cycle))
        server = HttpServer(app or gate.app, settings.gate, bind=bind, tls=tls, listening=hosting.port.take(bind))
        await started(server, bind)
        door.push_async_callback(server.stop, settings.gate.drain_s)
        url = _url(settings, bind, server.port)
        door.enter_context(announced(settings, url, gate.development_tokens, private_folders()))
        yield


def private_folders() -> PrivateFolders:
    """What this operating system has for folders that nobody else may look into."""
    # Imported here: each room has its calls on its own system alone.
    if sys.platform == "win32":
        from torchgate.windows.private_folder import WindowsPrivateFolders

        return WindowsPrivateFolders()
    from torchgate.posix.private_folder import PosixPrivateFolders

    return PosixPrivateFolders()


def local_pipes() -> LocalPipes:
    """What this operating system has for pipes with the peer's identity."""
    if sys.platform == "win32":
        from torchgate.windows.local_pipes import WindowsLocalPipes

        return WindowsLocalPipes()
    from torchgate.posix.local_pipes import PosixLocalPipes

    return PosixLocalPipes()


def pool_address(settings: TorchgateSettings) -> PipeAddress:
    """Where a project's pool and its gates meet."""
    return PipeAddress(settings.pool.folder or settings.state.folder, _PIPE_NAME)


@asynccontextmanager
async def opened_audit(settings: TorchgateSettings, private_folders: PrivateFolders) -> AsyncIterator[AuditTrail]:
    """The trail, open; without one there is no server."""
    try:
        private_folders.make_private(settings.state.folder)
        for sentence in private_folders.swappers(settings.state.folder):
            _log.warning("state.folder is not as private as it looks: %s.", sentence)
        signer = open_signer(settings.state.folder / "keys", private_folders)
        audit = AuditTrail(settings.audit_folder, settings.audit, signer=signer, version=__version__)
        await audit.start()
    except (OSError, ValueError) as error:
        raise CannotStart(
            f"the audit trail in {settings.audit_folder} can't be written, and without it nothing is answered: {error}"
        ) from None
    try:
        yield audit
    finally:
        await audit.close()


def opened_kerberos(configuration: Configuration, settings: TorchgateSettings) -> KerberosAcceptor | None:
    """What examines Kerberos tickets; where they count and it can't be had, there is no server."""
    try:
        return kerberos_acceptor(settings.identity.negotiate, configuration.file.parent)
    except ValueError as error:
        raise CannotStart(str(error)) from None


@asynccontextmanager
async def opened_secrets(
    configuration: Configuration, settings: TorchgateSettings, life_cycle: LifeCycle
) -> AsyncIterator[LiveSecrets]:
    """Every secret that the settings name, kept fresh; without one of them there is no server."""
    async with AsyncExitStack() as running:
        try:
            secrets = await running.enter_async_context(kept_secrets(configuration, settings, life_cycle.note))
        except SecretsMissing as error:
            raise CannotStart(str(error)) from None
        yield secrets


async def opened_access(configuration: Configuration, build: Build) -> Access:
    """Who is asking, and what they may, started; without either there is no server."""
    try:
        authentication, authorisation = build(configuration.access_settings())
    except ValueError as error:
        raise CannotStart(str(error)) from None
    await authentication.start()
    return authentication, authorisation


@asynccontextmanager
async def opened_tls(
    settings: TorchgateSettings, secrets: LiveSecrets, life_cycle: LifeCycle
) -> AsyncIterator[ssl.SSLContext | None]:
    """TLS of our own socket, or None; what can't be used keeps the server from starting."""
    if settings.gate.tls is None:
        yield None
        return
    try:
        tls = OwnTls(settings, settings.gate.tls, secrets, private_files(), life_cycle.note)
    except ValueError as error:
        raise CannotStart(str(error)) from None
    await tls.start()
    try:
        yield tls.context
    finally:
        await tls.stop()


async def started(server: HttpServer, bind: str) -> None:
    """Listen, or say why that can't be."""
    try:
        await server.start()
    except OSError as error:
        raise CannotStart(
            f"{bind} can't be listened on: {error.strerror or error}. Is another server running there? "
            "Choose another gate.bind."
        ) from None


@contextmanager
def announced(
    settings: TorchgateSettings, url: str, tokens: Mapping[str, str], private_folders: PrivateFolders
) -> Iterator[None]:
    """Say where the server is, to people and to other commands, while it is there."""
    state = settings.state.folder
    try:
        announce_server(state, RunningServer(os.getpid(), url, __version__))
    except OSError as error:
        raise CannotStart(f"{state} can't be written: {error}. Name another state.folder.") from None
    try:
        with announced_tokens(settings, tokens, private_folders):
            say(f"torchgate {__version__} serves on {url} (process {os.getpid()}). Stop it by Ctrl+C.")
            yield
    finally:
        withdraw_server(state, os.getpid())


@contextmanager
def announced_tokens(
    settings: TorchgateSettings, tokens: Mapping[str, str], private_folders: PrivateFolders
) -> Iterator[None]:
    """Put development tokens where their users find them, and warn of them, while the server is there."""
    state = settings.state.folder
    if tokens:
        try:
            folder = write_tokens(state, tokens, private_folders)
        except OSError as error:
            raise CannotStart(f"{state} can't be written: {error}. Name another state.folder.") from None
        _warn_of_development(folder, tokens)
    try:
        yield
    finally:
        withdraw_tokens(state, tokens)


def say_models(models: Iterable[ModelDescription]) -> None:
    """One line for each model, to the person at the terminal."""
    for model in models:
        say(f"  model {model.ref} is {model.state}{f': {model.reason}' if model.reason else ''}")


def _warn_of_development(folder: Path, tokens: Mapping[str, str]) -> None:
    _log.warning("Development identities are enabled: %s. Not for production.", ", ".join(tokens))
    say("*" * 100)
    say(
        "WARNING: DEVELOPMENT IDENTITIES ARE ENABLED. Whoever has one of these tokens is believed. Never in production."
    )
    for name, token in tokens.items():
        # Into a terminal, which keeps nothing; a log file must not hold a credential.
        shown = f"   {token}" if sys.stdout is not None and sys.stdout.isatty() else ""
        say(f"  {name:16} {folder / f'{name}.token'}{shown}")
    say("*" * 100)


def _exposition(metrics: Metrics, engine: Engine) -> Callable[[], Awaitable[tuple[bytes, str]]]:
    async def render() -> tuple[bytes, str]:
        return metrics.render(await engine.quota_totals())

    return render


def _recorder(log: RequestLog, metrics: Metrics) -> Callable[[RequestEvent], None]:
    def record(event: RequestEvent) -> None:
        log.record(event)
        metrics.record(event)

    return record


def _front_door(settings: TorchgateSettings, secrets: LiveSecrets, engine: Engine) -> FrontDoor:
    def wants_rights() -> bool:
        return allowed and any(model.impersonates for model in engine.models())

    allowed = settings.identity.windows.impersonation
    try:
        return front_door_of(settings, secrets, wants_rights=wants_rights)
    except ValueError as error:
        raise CannotStart(str(error)) from None


def _url(settings: TorchgateSettings, bind: str, port: int) -> str:
    if is_unix(bind):
        return bind
    host, scheme = host_and_port(bind)[0], "http" if settings.gate.tls is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _refusals(settings: TorchgateSettings) -> RefusalLimiter:
    return RefusalLimiter(
        settings.identity.refusals, front_door=settings.gate.front_door, clock=monotonic_s, wall_clock=time.time
    )


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes this system's best event loop."""
    if sys.platform == "win32":
        return asyncio.ProactorEventLoop
    try:
        import uvloop  # here, because it exists on this system alone
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
