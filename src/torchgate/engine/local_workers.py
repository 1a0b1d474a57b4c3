"""The first back end: worker processes on this machine, tensors in shared memory."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.back_end import Artifact, Batch, BatchAnswer, Slot, StateListener
from torchgate.contract.clock import Clock, monotonic_s
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import ModelNotReady
from torchgate.contract.os_services import Children, ChildSpec, Sections
from torchgate.contract.worker_limits import Enforcement
from torchgate.engine.replicas import Replicas
from torchgate.engine.settings import EngineSettings
from torchgate.engine.standbys import Standbys
from torchgate.engine.version_memory import VersionMemory
from torchgate.engine.version_workers import VersionWorkers
from torchgate.engine.worker_environment import fair_threads, worker_environment, working_folder
from torchgate.engine.worker_process import WorkerProcess

_log = logging.getLogger("torchgate.engine")

WORKER_MODULE = "torchgate.worker_app"
STOP_GRACE_S = 0.5
"""For workers to end by themselves when the server stops; what runs then has had the engine's drain already."""


class LocalWorkers:
    """Implements contract.back_end.BackEnd over child processes.

    Args:
        children, sections: of the operating system's room.
        settings: `[engine]`.
        clock: monotonic.
        environment: of which workers get the part that is allowed; None: this process's own.
        on_lifecycle: told of workers that become ready or die.

    Process: the event loop only.
    """

    def __init__(
        self,
        children: Children,
        sections: Sections,
        settings: EngineSettings,
        *,
        clock: Clock = monotonic_s,
        environment: Mapping[str, str] | None = None,
        on_lifecycle: Callable[[LifecycleEvent], None] | None = None,
    ) -> None:
        self._children = children
        self._sections = sections
        self._settings = settings
        self._clock = clock
        self._environment = dict(os.environ if environment is None else environment)
        self._on_lifecycle = on_lifecycle
        self._cores = settings.threads or os.cpu_count() or 1
        self._fair_threads = self._cores
        self._folder = working_folder()
        self._standbys = Standbys(self._start, settings.standbys)
        self._versions: dict[int, Replicas] = {}
        self._generations: dict[ModelRef, itertools.count[int]] = {}
        self._workers: set[WorkerProcess] = set()
        self._started = 0

    def expect(self, artifacts: Sequence[Artifact]) -> None:
        """Share the processors among all workers to come that don't say how many threads they want."""
        sharing = sum(artifact.replicas for artifact in artifacts if not artifact.threads)
        saying = sum(artifact.replicas * artifact.threads for artifact in artifacts)
        self._fair_threads = fair_threads(self._cores - min(saying, self._cores - 1), sharing)

    async def activate(self, artifact: Artifact, listener: StateListener) -> None:
        """Load a version; returns when it is ready or failed."""
        if artifact.activation in self._versions:
            raise ValueError(f"activation {artifact.activation} of {artifact.ref} is there already. This is a bug.")
        try:
            section = self._sections.create(self._settings.section_bytes)
        except OSError as error:
            reason = f"no shared memory of engine.section_bytes = {self._settings.section_bytes}: {error}"
            listener("failed", reason, 0)
            return
        artifact = msgspec.structs.replace(artifact, limits=self._settings.limits_of(artifact.limits))
        replicas = self._versions[artifact.activation] = Replicas(
            VersionWorkers(
                artifact,
                VersionMemory(artifact, section),
                self._standbys,
                artifact.threads or self._fair_threads,
                self._generations.setdefault(artifact.ref, itertools.count(1)),
            ),
            self._settings,
            clock=self._clock,
            listener=listener,
            on_lifecycle=self._tell,
        )
        await replicas.start()

    async def deactivate(self, activation: int) -> None:
        """Unload a version after the batches that it is running."""
        replicas = self._versions.pop(activation, None)
        if replicas is not None:
            await replicas.stop(replicas.artifact.max_run_s)

    def reserve(self, activation: int, length: int) -> Slot:
        """Memory for the inputs of one request."""
        return self._of(activation).reserve(length)

    def free_replicas(self, activation: int) -> int:
        """How many batches it could take this moment."""
        replicas = self._versions.get(activation)
        return len(replicas.ready) if replicas is not None else 0

    def enforcement(self, activation: int) -> tuple[Enforcement, ...]:
        """How limits of its workers are held."""
        replicas = self._versions.get(activation)
        return replicas.held if replicas is not None else ()

    async def run(self, batch: Batch, *, quarantined: bool = False, can_wait: bool = False) -> BatchAnswer:
        """Run a batch on a free replica, or, quarantined, alone on a worker kept for suspected rows."""
        return await self._of(batch.activation).run(batch, quarantined=quarantined, can_wait=can_wait)

    async def stop(self) -> None:
        """End everything; running batches get a short grace."""
        versions, self._versions = list(self._versions.values()), {}
        await asyncio.gather(self._standbys.stop(), *(replicas.stop(STOP_GRACE_S) for replicas in versions))
        await asyncio.gather(*(worker.stop(STOP_GRACE_S) for worker in list(self._workers)))
        self._children.close()

    def _of(self, activation: int) -> Replicas:
        replicas = self._versions.get(activation)
        if replicas is None:
            raise ModelNotReady("This model version is not loaded any more. Try again.", retry_after_s=1.0)
        return replicas

    async def _start(self, threads: int) -> WorkerProcess:
        """Start a worker; it is a standby when this returns.

        Raises:
            WorkerEnded: it did not come so far.
        """
        self._started += 1
        worker = WorkerProcess(f"worker {self._started}", clock=self._clock, on_ended=self._ended)
        self._workers.add(worker)
        worker.is_gone.add_done_callback(lambda _: self._workers.discard(worker))
        spec = ChildSpec(
            name=worker.name,
            module=WORKER_MODULE,
            arguments=(),
            environment=worker_environment(self._environment, self._settings.worker_environment, threads),
            folder=self._folder,
        )
        await worker.start(self._children, spec, self._settings.start_timeout_s)
        return worker

    def _ended(self, worker: WorkerProcess) -> None:
        self._standbys.ended(worker)
        for replicas in self._versions.values():
            replicas.ready.remove(worker)

    def _tell(self, name: str, activity: str, sentence: str) -> None:
        if self._on_lifecycle is not None:
            self._on_lifecycle(LifecycleEvent(time.time(), activity, f"worker {name}", sentence))
