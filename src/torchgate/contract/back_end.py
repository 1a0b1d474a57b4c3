"""The seam under the engine: what runs a batch. Local worker processes are the first; Ray and Triton may follow.

Nothing above this seam assumes a child process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import TorchgateError
from torchgate.contract.inference import InferenceRequest, ModelState
from torchgate.contract.os_services import Place
from torchgate.contract.tensors import PlacedTensor, Signature
from torchgate.contract.tuning import Tuned
from torchgate.contract.worker_limits import Enforcement, WorkerLimits


class Artifact(msgspec.Struct, frozen=True):
    """One version of a model on disk, and how it wants to be run; read from model.toml.

    Args:
        ref: name and version.
        format: `class`, `export`, `torchscript` or `aoti`.
        folder: absolute path of the version's folder.
        entry: `file:Class` for `class`, else the artifact's file name.
        digest: `sha256:…` over the folder's files.
        signature: inputs and outputs.
        max_batch_size: rows; 0: no batches.
        replicas: workers that hold a copy.
        limits: of each worker, beyond its threads.
        threads: CPU threads of each, or 0: an equal share of the machine.
        device: `cpu`, `cuda`, `cuda:0` …
        parameters: free settings of model.toml for the author's `load`.
        load_timeout_s: until it must be ready.
        max_run_s: a batch that runs longer costs the worker its life.
        idempotent: False: rows are never run twice.
        warm_up: runs on made-up input before ready.
        fingerprint: engine.digest.fingerprint of the folder as it was vouched for: what it has become since must not be
            loaded beside it; empty: unknown.
        tuned: how it runs fastest, as `models tune` found.
        device_weight: of two versions that want the same device without pause, the one with twice the weight gets
            twice as much of its time.
        activation: number of this loading, unique in this process: two of one version may stand side by side while one
            replaces the other, each with memory and replicas of its own.
        impersonates: its code acts with its caller's Windows rights, so that a batch holds one token alone.
    """

    ref: ModelRef
    format: str
    folder: str
    entry: str
    digest: str
    signature: Signature
    max_batch_size: int
    replicas: int = 1
    threads: int = 0
    device: str = "cpu"
    limits: WorkerLimits = WorkerLimits()
    parameters: Mapping[str, object] = msgspec.field(default_factory=dict)
    load_timeout_s: float = 120.0
    max_run_s: float = 30.0
    idempotent: bool = True
    warm_up: int = 1
    fingerprint: str = ""
    activation: int = 0
    device_weight: float = 1.0
    tuned: Tuned | None = None
    impersonates: bool = False


class Slot(Protocol):
    """A reserved piece of memory that a back end can read without another copy."""

    @property
    def view(self) -> memoryview:
        """Writable, exactly as long as was asked for."""
        ...

    @property
    def place(self) -> Place | None:
        """Where `view` lies, for a process that shares its section; None: nobody else can see this memory."""
        ...

    def release(self) -> None:
        """Give it back; memory that a run may still touch is reused only after that run. Safe to call twice."""
        ...


class BatchItem(msgspec.Struct, frozen=True):
    """One request's rows in a batch."""

    request: InferenceRequest
    slot: Slot


class Batch(msgspec.Struct, frozen=True):
    """Requests of one activation that run together.

    Args:
        batch_id: unique in this process; the answer must carry it.
        activation: as its artifact says.
        items: at least one; their shapes are compatible.
        rows: of all items together.
    """

    batch_id: int
    activation: int
    items: tuple[BatchItem, ...]
    rows: int


class ItemAnswer(msgspec.Struct, frozen=True):
    """One request's outputs: offsets count from `memory.view`'s start. `memory` is released by the engine."""

    outputs: tuple[PlacedTensor, ...]
    memory: Slot


class BatchAnswer(msgspec.Struct, frozen=True):
    """What came of a batch: for each item, in order, its outputs or its own error.

    Args:
        items: as many as the batch has, in its order.
        collate_s, predict_s, split_s: where the worker's time went.
        worker: which worker, for the audit event.
    """

    items: tuple[ItemAnswer | TorchgateError, ...]
    collate_s: float
    predict_s: float
    split_s: float
    worker: str


class BatchLost(Exception):
    """The back end lost a batch: it may or may not have run.

    Args:
        hung: it outlived max_run_s and was killed; False: what ran it died by itself.
        worker: which one, for logs.
    """

    def __init__(self, *, hung: bool, worker: str) -> None:
        super().__init__(f"{worker} {'outlived max_run_s' if hung else 'died'}")
        self.hung = hung
        self.worker = worker


StateListener = Callable[[ModelState, str, int], None]
"""Called with (state, reason, ready replicas) of one activation whenever one of them changes."""


class BackEnd(Protocol):
    """Holds loaded model versions and runs batches on them. Called from the event loop only."""

    def expect(self, artifacts: Sequence[Artifact]) -> None:
        """Be told once, before the first `activate`, of all versions to come: to share the machine among them."""
        ...

    async def activate(self, artifact: Artifact, listener: StateListener) -> None:
        """Load a version; returns when it is ready or failed (the listener was told). Never raises for a bad model.

        From here on it is known by the artifact's activation.
        """
        ...

    async def deactivate(self, activation: int) -> None:
        """Unload after the batches that are running, and give all memory back. Safe for what is gone already."""
        ...

    def reserve(self, activation: int, length: int) -> Slot:
        """Memory for the inputs of one request.

        Raises:
            Overloaded: none free now. BodyTooLarge: more than there is at all. ModelNotReady: it is gone.
        """
        ...

    def free_replicas(self, activation: int) -> int:
        """How many batches it could take this moment; the listener is called when this rises from 0."""
        ...

    def enforcement(self, activation: int) -> tuple[Enforcement, ...]:
        """How the limits of what runs it are held, once it is ready; empty where it has none."""
        ...

    async def run(self, batch: Batch, *, quarantined: bool = False, can_wait: bool = False) -> BatchAnswer:
        """Run a batch on a free replica, or, quarantined, alone on a worker kept for suspected rows.

        Args:
            can_wait: of a quarantined one: it is a known offender's, so that every replica which is missing now comes
                first. It may take as long as that takes.

        Raises:
            BatchLost: see there.
            TorchgateError: it did not run, e.g. ModelNotReady because the version has failed meanwhile.
        """
        ...

    async def stop(self) -> None:
        """End everything; running batches get a short grace."""
        ...
