"""`torchgate pool`: engine and workers, for any number of gates that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

from torchgate import __version__
from torchgate.composition import (
    CannotStart,
    local_pipes,
    opened_audit,
    pool_address,
    private_folders,
    run_command,
    say_models,
)
from torchgate.config import Configuration, TorchgateSettings
from torchgate.contract.local_pipes import AddressTaken, Listening, LocalPipes
from torchgate.contract.os_services import PrivateFolders, Section, Sections
from torchgate.contract.services import Supervisor
from torchgate.engine.link.pool_end import PoolEnd
from torchgate.engine.models_watch import ModelsWatch
from torchgate.engine_composition import built_engine, operating_system
from torchgate.hosting import Hosting
from torchgate.life_cycle import LifeCycle
from torchgate.services_here import supervisor
from torchgate.telemetry.instance_lock import InstanceLock
from torchgate.terminal import say

_LOCK_FILE = "pool.lock"
_NO_TOKENS = "a pool's gates are other processes, whose callers' tokens stay with them; it needs `torchgate serve`"


def run_pool(path: Path, flags: Sequence[str], started_by: Supervisor | None = None) -> int:
    """Run the pool of a project until it is told to stop; the exit code.

    Args:
        started_by: who is told how it is; None: whom the environment names, if it does.

    Process: the main thread.
    """
    return run_command(path, flags, partial(_run, started_by or supervisor() or _Nobody()))


async def _run(
    started_by: Supervisor, configuration: Configuration, settings: TorchgateSettings, hosting: Hosting
) -> None:
    sections = operating_system()[1]
    pipes = local_pipes()
    accounts = settings.pool.gate_accounts or (pipes.own_account,)
    started_by.listen(_from_any_thread(hosting.stop.ask))
    async with AsyncExitStack() as running:
        # First of all: a second pool must leave no trace, no audit chain either.
        running.callback(_only_pool(settings, private_folders()).release)
        audit = await running.enter_async_context(opened_audit(settings, private_folders()))
        life_cycle = LifeCycle(audit)
        await running.enter_async_context(life_cycle.of_server(f"{__version__} (pool)"))
        await running.enter_async_context(life_cycle.watching_models())
        watch = ModelsWatch(settings.models)
        shared = _SharedWith(sections, accounts)
        engine = built_engine(configuration, settings, shared, life_cycle, no_tokens=_NO_TOKENS)
        pool = PoolEnd(engine, shared, program=__version__, on_lifecycle=life_cycle.note)
        engine.watch(pool.changed)
        running.push_async_callback(pool.close)
        await engine.start()
        running.push_async_callback(engine.stop, settings.gate.drain_s)
        await running.enter_async_context(watch.over(engine))
        pool.start()
        listening = await _listen(pipes, settings, accounts, pool)
        running.callback(listening.close)
        say(f"torchgate {__version__}: the pool is open for gates of {', '.join(accounts)}. Stop it by Ctrl+C.")
        say_models(engine.models())
        started_by.ready()
        await hosting.stop.wait()
        started_by.stopping()
        say("torchgate: the pool stops; requests that run are finished. A second signal ends everything at once.")


def _only_pool(settings: TorchgateSettings, private_folders: PrivateFolders) -> InstanceLock:
    """The sign that this project has a pool, before a worker is started."""
    try:
        private_folders.make_private(settings.state.folder)
        return InstanceLock(settings.state.folder / _LOCK_FILE, create=True)
    except OSError as error:
        raise CannotStart(
            f"a pool of this project runs already, or {settings.state.folder} can't be written: {error}. "
            "Stop the other one first, or name another state.folder."
        ) from None


async def _listen(
    pipes: LocalPipes, settings: TorchgateSettings, accounts: Collection[str], pool: PoolEnd
) -> Listening:
    address = pool_address(settings)
    try:
        return await pipes.listen(address, allowed=accounts, on_connect=pool.connected)
    except AddressTaken as error:
        raise CannotStart(f"another pool listens in {address.folder}: {error}. Stop it first.") from None
    except (OSError, ValueError) as error:
        raise CannotStart(f"gates can't be let in through {address.folder}: {error}.") from None


def _from_any_thread(call: Callable[[], None]) -> Callable[[], None]:
    loop = asyncio.get_running_loop()

    def later() -> None:
        with suppress(RuntimeError):  # the loop is closed: it has stopped already
            loop.call_soon_threadsafe(call)

    return later


class _Nobody:
    """Implements contract.services.Supervisor where a person has started us, or a parent that does not ask."""

    def listen(self, stop: Callable[[], None]) -> None:
        """Nobody asks but by a signal."""

    def ready(self) -> None:
        """Nobody waits."""

    def stopping(self) -> None:
        """Nobody waits."""


class _SharedWith:
    """Implements contract.os_services.Sections for memory that gates of these accounts may be handed."""

    def __init__(self, sections: Sections, accounts: Collection[str]) -> None:
        self._sections = sections
        self._accounts = tuple(accounts)

    def create(self, length: int, *, shared_with: Collection[str] = ()) -> Section:
        """As Sections.create says."""
        return self._sections.create(length, shared_with=(*self._accounts, *shared_with))
