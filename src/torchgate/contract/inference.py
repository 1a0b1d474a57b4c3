"""One request to a model and its answer, and the engine as the gate sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from torchgate.contract.caller_tokens import CallerToken
from torchgate.contract.decision import ModelRef
from torchgate.contract.os_services import Place
from torchgate.contract.principal import Principal
from torchgate.contract.quota_use import QuotaTotal, QuotaUse
from torchgate.contract.tensors import PlacedTensor, Signature
from torchgate.contract.worker_limits import Enforcement

ParameterValue = bool | int | float | str
ModelState = Literal["loading", "ready", "failed", "unloading", "unloaded"]


class Timing(msgspec.Struct):
    """Where the time of one request went; the engine fills it, telemetry reads it.

    Args:
        queue_s: accepted until its batch was handed to a worker.
        run_s: its batch in the worker: collate, predict, split.
        batch_rows, batch_requests: of the batch it last ran in.
        worker: which worker, e.g. `digits:1/0#4` (model:version / replica # generation).
        attempts: 1, or 2 after quarantine.
    """

    queue_s: float = 0.0
    run_s: float = 0.0
    batch_rows: int = 0
    batch_requests: int = 0
    worker: str = ""
    attempts: int = 0


class InferenceRequest(msgspec.Struct, frozen=True):
    """A decoded request; the bytes of its inputs lie in the section that its permit reserved.

    Args:
        request_id: ours.
        principal: who asks.
        inputs: each input of the signature once, in its order; offsets count from the reserved section's start.
        rows: length of the batch dimension, or 1 for a model that takes no batches.
        deadline_at: on the monotonic clock.
        outputs: names of the wanted outputs, or None for all.
        priority: V2 `priority`: orders only the caller's own rows; 0 is none, 1 the highest.
        parameters: those that the model declares.
        client_ids: what the client calls it (X-Request-ID, V2 `id`), where it can be taken back by that name.
        token: of the caller, where the model acts with its rights; belongs to whoever made the request.
    """

    request_id: str
    principal: Principal
    inputs: tuple[PlacedTensor, ...]
    rows: int
    deadline_at: float
    outputs: tuple[str, ...] | None = None
    priority: int = 0
    parameters: Mapping[str, ParameterValue] = msgspec.field(default_factory=dict)
    client_ids: tuple[str, ...] = ()
    token: CallerToken | None = None


class InferenceResponse(msgspec.Struct, frozen=True):
    """An answer; valid until its permit is released.

    Args:
        outputs: in the order of the signature (or of the request's `outputs`); offsets count from `payload`'s start.
        payload: the bytes of all outputs, read only by agreement.
        place: of `payload`, where another process can see it too.
    """

    outputs: tuple[PlacedTensor, ...]
    payload: memoryview
    timing: Timing
    place: Place | None = None


class ModelDescription(msgspec.Struct, frozen=True):
    """What is known of a model version without torch: model.toml, and its state now.

    Args:
        ref: name and version.
        digest: `sha256:…` over the artifact, or empty while unknown.
        platform: `torchgate_class`, `torchgate_export`, `torchgate_torchscript` or `torchgate_aoti`.
        signature: inputs and outputs.
        max_batch_size: rows; 0 means that the model takes no batches and shapes are whole.
        max_batch_delay_s: how long a batch may wait to fill.
        max_timeout_s: cap of a request's deadline.
        parameters: names of request parameters that reach the model.
        state: now.
        reason: why it is in that state; in state ready empty, or why what lies on disk now is not what is served. For
            those with the right to read it.
        ready_workers: how many replicas can take a batch.
        open_circuits: principals whose requests are refused, because they ended its workers again and again.
        activation: number of the loading that serves it, unique in this engine; another number means that another
            artifact may have taken its place.
        is_default: whether a name without a version means this one.
        limits: how the operating system holds its workers to their limits, once it is ready.
        impersonates: it acts with its callers' Windows rights, so that each request needs its caller's token.
    """

    ref: ModelRef
    digest: str
    platform: str
    signature: Signature
    max_batch_size: int
    max_batch_delay_s: float
    max_timeout_s: float
    parameters: tuple[str, ...]
    state: ModelState
    reason: str = ""
    ready_workers: int = 0
    open_circuits: int = 0
    activation: int = 0
    is_default: bool = False
    limits: tuple[Enforcement, ...] = ()
    impersonates: bool = False


class ModelChange(msgspec.Struct, frozen=True):
    """What loading or unloading has done to a model, version by version.

    Args:
        loaded: served by a fresh loading from now on.
        unchanged: served as before, because what lies on disk is what they are.
        unloaded: serve no more.
        default: what a request means that names no version; empty where nothing is left.
    """

    name: str
    loaded: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    unloaded: tuple[str, ...] = ()
    default: str = ""


class DurationStatistics(msgspec.Struct):
    """A count and a sum, as V2 statistics give them."""

    count: int = 0
    ns: int = 0


class ModelStatistics(msgspec.Struct):
    """V2 statistics of a model version since it was loaded.

    Args:
        last_inference_ms: Unix milliseconds, 0 for never.
        inference_count: rows answered; execution_count: batches run.
        success, fail, queue, compute_input, compute_infer, compute_output: per request.
        batches: batch size in rows → executions of that size.
    """

    last_inference_ms: int = 0
    inference_count: int = 0
    execution_count: int = 0
    success: DurationStatistics = msgspec.field(default_factory=DurationStatistics)
    fail: DurationStatistics = msgspec.field(default_factory=DurationStatistics)
    queue: DurationStatistics = msgspec.field(default_factory=DurationStatistics)
    compute_input: DurationStatistics = msgspec.field(default_factory=DurationStatistics)
    compute_infer: DurationStatistics = msgspec.field(default_factory=DurationStatistics)
    compute_output: DurationStatistics = msgspec.field(default_factory=DurationStatistics)
    batches: dict[int, DurationStatistics] = msgspec.field(default_factory=dict)


class Permit(Protocol):
    """Room in the engine for one request, from the door until the answer is encoded."""

    @property
    def description(self) -> ModelDescription:
        """Of what will answer: it may have taken the place of what was described when the request was resolved."""
        ...

    async def reserve(self, length: int) -> memoryview:
        """Shared memory for the inputs: writable, `length` bytes, 64-byte aligned.

        Asked again before the run, it gives the first memory back.

        Raises:
            Overloaded: no room for so many bytes now.
            QuotaExceeded: none in the principal's own quotas.
            BodyTooLarge: there never will be.
        """
        ...

    @property
    def place(self) -> Place | None:
        """Of the reserved memory, where another process can see it too; None before `reserve`, too."""
        ...

    async def run(self, request: InferenceRequest) -> InferenceResponse:
        """Queue, run, and give the answer. Cancelling this call takes the request back. Once per permit.

        Raises:
            DeadlineExceeded, QuotaExceeded, Overloaded, ModelNotReady, ModelError and its kinds: as their names say.
            Cancelled: by Engine.cancel.
        """
        ...

    def release(self) -> None:
        """Give the room back; the answer's payload is invalid from here. Safe to call twice."""
        ...


class Engine(Protocol):
    """The engine, in this process or reached over a pipe.

    What each request reads comes from a picture that is kept here; what asks the engine itself is awaited.
    """

    def resolve(self, name: str, version: str | None) -> ModelRef | None:
        """The model version that a request means, byte for byte; None if there is none. No version: the default.

        Raises:
            Unavailable: which models there are is not known yet.
        """
        ...

    def describe(self, ref: ModelRef) -> ModelDescription | None:
        """None when the version is gone."""
        ...

    async def statistics(self, ref: ModelRef) -> ModelStatistics | None:
        """None when the version is gone."""
        ...

    def models(self) -> tuple[ModelDescription, ...]:
        """All versions, by name and version."""
        ...

    async def admit(self, ref: ModelRef, principal: Principal, announced_bytes: int) -> Permit:
        """Room for one request, decided before its body is read.

        Args:
            announced_bytes: of the body, or the limit where the client did not announce any.

        Raises:
            ModelNotReady, QuotaExceeded, Overloaded, UnknownModel (gone since it was resolved).
            CircuitOpen: requests of this principal ended this model's workers again and again.
        """
        ...

    async def cancel(self, principal_key: str, client_id: str) -> int:
        """Take back every request of this principal that has this id of its client's, through whichever gate it came.

        Its caller hears `Cancelled` at once; rows that wait never start, the answers of rows that run are dropped.

        Returns:
            How many there were; 0 tells nothing of anybody else's.
        """
        ...

    async def load(self, name: str, version: str | None, *, by: str, force: bool = False) -> ModelChange:
        """Serve what lies on disk now: new and changed versions beside the old ones until the moment of the switch.

        Returns when the switch is done; what was served before finishes what it has taken, and goes then.

        Args:
            version: this one alone; None: all of the model, and which of them is the default.
            by: for whom, told to the audit trail.
            force: load anew what has not changed, too.

        Raises:
            UnknownModel: there is no such folder. Conflict: the model is being changed already.
            LoadFailed: a version can't be served; what was served before still is, as far as its mode allows.
        """
        ...

    async def unload(self, name: str, version: str | None, *, by: str) -> ModelChange:
        """Serve a version, or all of the model, no more; returns when what was taken is finished and memory is free.

        Args:
            version, by: as of `load`.

        Raises:
            UnknownModel: there is no such version. Conflict: the model is being changed already.
        """
        ...

    async def quota_use(self, principal: Principal | None) -> tuple[QuotaUse, ...]:
        """What is used of the quotas that are about a principal, used or not; None: by all who have used anything."""
        ...

    async def quota_totals(self) -> tuple[QuotaTotal, ...]:
        """Each limit of each quota, over all holders; as many as the settings have."""
        ...

    @property
    def is_warm(self) -> bool:
        """Whether every model has become ready or failed since the start: warm-up is over, and stays over."""
        ...

    @property
    def not_ready_reason(self) -> str:
        """Why the installation itself keeps the server from being ready, for everybody who asks; or empty."""
        ...
