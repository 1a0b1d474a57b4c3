"""How a worker comes to hold one model version, and how it runs a batch of it."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from pathlib import Path

from torchgate.contract.back_end import Artifact, Batch, BatchAnswer, BatchLost
from torchgate.contract.os_services import Child
from torchgate.contract.worker_limits import Enforcement
from torchgate.contract.worker_wire import Load, LoadFailed, WireError
from torchgate.engine.current_run import WorkerEnded
from torchgate.engine.digest import fingerprint
from torchgate.engine.running_batch import PlacedBatch
from torchgate.engine.standbys import Standbys
from torchgate.engine.version_memory import VersionMemory
from torchgate.engine.worker_process import LoadRefused, WorkerProcess
from torchgate.engine.worker_states import WorkerState

_log = logging.getLogger("torchgate.engine")

_STOP_GRACE_S = 1.0
"""For a worker that runs nothing to end by itself."""


class VersionWorkers:
    """What replicas and quarantine of a version share.

    Args:
        artifact: the version.
        memory: of the version.
        standbys: where workers come from.
        threads: of each worker.
        generations: numbers the version's workers, through all of its activations.
    """

    def __init__(
        self,
        artifact: Artifact,
        memory: VersionMemory,
        standbys: Standbys,
        threads: int,
        generations: itertools.count[int],
    ) -> None:
        self.artifact = artifact
        self.memory = memory
        self.held: tuple[Enforcement, ...] = ()
        """How the limits of its last worker are held; empty before the first."""
        self._standbys = standbys
        self._threads = threads
        self._generations = generations
        self._is_limit_told = False
        self._stopping: set[asyncio.Task[None]] = set()

    def request(self, *, is_urgent: bool = False) -> asyncio.Future[WorkerProcess]:
        """A standby, as Standbys.request says."""
        return self._standbys.request(self._threads, is_urgent=is_urgent)

    def withdraw(self, requested: asyncio.Future[WorkerProcess]) -> None:
        """The standby is not needed after all."""
        self._standbys.withdraw(requested, self._threads)

    async def load(self, worker: WorkerProcess, place: str) -> None:
        """Have a standby load the version.

        Args:
            place: `0`, `1` …, or `q` in quarantine; with the generation it names the worker.

        Raises:
            LoadRefused: it can't, or the files are not those any more that the version was loaded from. WorkerEnded: it
                ended meanwhile.
        """
        await self._examine_files(worker)
        name = f"{self.artifact.ref}/{place}#{next(self._generations)}"
        answer = await worker.load(name, self._prepare, self.artifact.load_timeout_s)
        if isinstance(answer, LoadFailed):
            if answer.detail:
                _log.warning("%s: %s", name, answer.detail)
            self.end(worker)
            raise LoadRefused(answer.reason)

    def _prepare(self, child: Child) -> Load:
        """The model's code begins under its limits; how they are held is said once.

        Raises:
            OSError: they can't be held, or the child is gone.
        """
        limits = self.artifact.limits
        held = child.limit(limits)
        if limits.device_memory_fraction:
            note = "what others than torch's allocator take is not counted"
            held += (Enforcement("device_memory_fraction", "torch", note, limits.device_memory_fraction),)
        self.held = held
        if held and not self._is_limit_told:
            self._is_limit_told = True
            level = logging.INFO if all(one.by for one in held) else logging.WARNING
            _log.log(level, "limits of the workers of %s: %s", self.artifact.ref, "; ".join(map(str, held)))
        return self.memory.load_message(child)

    async def _examine_files(self, worker: WorkerProcess) -> None:
        """Nobody may answer in this loading's name from files that it was not made of."""
        artifact = self.artifact
        if artifact.fingerprint and await asyncio.to_thread(fingerprint, Path(artifact.folder)) != artifact.fingerprint:
            self.end(worker)
            raise LoadRefused(
                "its files on disk are not those that it was loaded from. Put them back, or load the model again."
            )

    async def run_on(
        self, worker: WorkerProcess, batch: Batch, on_idle: Callable[[WorkerProcess], None]
    ) -> BatchAnswer:
        """Run a batch on a worker that is ready.

        Raises:
            BatchLost: see there.
        """
        placed = PlacedBatch(batch, self.memory.outputs)
        name = worker.name
        try:
            if self.artifact.impersonates:
                _take_token(placed, worker, on_idle)
            done = await worker.run(placed.message(), placed, self.artifact.max_run_s, on_idle)
            return placed.answer(done, name)
        except WireError as error:
            worker.misbehaved(f"answered wrongly ({error})")
            raise BatchLost(hung=False, worker=name) from None
        except WorkerEnded as error:
            raise BatchLost(hung=error.hung, worker=name) from None
        finally:
            placed.forget()

    def end(self, worker: WorkerProcess) -> None:
        """It is needed no more; `close` waits until it is gone."""
        task = asyncio.get_running_loop().create_task(worker.stop(_STOP_GRACE_S))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def close(self) -> None:
        """Wait for workers that are ending; then give the memory back."""
        if self._stopping:
            await asyncio.wait(self._stopping)
        self.memory.close()


def _take_token(placed: PlacedBatch, worker: WorkerProcess, on_idle: Callable[[WorkerProcess], None]) -> None:
    """Have a batch find its caller's token. Where it has none any more, the worker is as free as it was.

    Raises:
        Cancelled: whoever waited for this batch has gone.
    """
    try:
        placed.take_token()
    except BaseException:
        placed.over()
        if worker.state is WorkerState.READY:
            on_idle(worker)
        raise
