"""An engine without queue, batches or workers: each model is a Python function on the raw bytes of its inputs.

It keeps the promises of contract.inference.Engine that the gate leans on: one reserve and one run a permit, an answer
that is worthless after release, a run that ends when its caller is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import BodyTooLarge, Cancelled, ModelNotReady, UnknownModel
from torchgate.contract.inference import (
    InferenceRequest,
    InferenceResponse,
    ModelChange,
    ModelDescription,
    ModelState,
    ModelStatistics,
    Timing,
)
from torchgate.contract.os_services import Place
from torchgate.contract.principal import Principal
from torchgate.contract.quota_use import SHARED, QuotaTotal, QuotaUse
from torchgate.contract.tensors import PlacedTensor, Signature, TensorSpec

Outputs = Mapping[str, tuple[tuple[int, ...], bytes]]
Function = Callable[[InferenceRequest, Mapping[str, bytes]], Awaitable[Outputs]]
"""(request, input bytes by name) → output name → (shape, bytes)."""


def describe_model(
    name: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    version: str = "1",
    max_batch_size: int = 8,
    state: ModelState = "ready",
    parameters: tuple[str, ...] = (),
    max_timeout_s: float = 60.0,
) -> ModelDescription:
    """A description with the rest filled in."""
    return ModelDescription(
        ref=ModelRef(name, version),
        digest="sha256:" + "0" * 64,
        platform="torchgate_class",
        signature=Signature(inputs, outputs),
        max_batch_size=max_batch_size,
        max_batch_delay_s=0.0,
        max_timeout_s=max_timeout_s,
        parameters=parameters,
        state=state,
        reason="" if state == "ready" else "the weights are missing",
    )


@dataclass
class InProcessEngine:
    """Implements contract.inference.Engine.

    Args:
        memory_bytes: one permit may reserve at most so much.
        requests: those that ran, in order.
        open_permits: admitted and not yet released.
        quotas: what is used, by holder.
    """

    functions: dict[ModelRef, Function] = field(default_factory=dict)
    descriptions: dict[ModelRef, ModelDescription] = field(default_factory=dict)
    memory_bytes: int = 1 << 24
    is_warm: bool = True
    not_ready_reason: str = ""
    requests: list[InferenceRequest] = field(default_factory=list)
    running: list[tuple[InferenceRequest, asyncio.Future[Outputs]]] = field(default_factory=list)
    taken_back: set[str] = field(default_factory=set)
    repository: dict[str, tuple[ModelDescription, Function]] = field(default_factory=dict)
    changes: list[tuple[str, str, str | None, str, bool]] = field(default_factory=list)
    change_error: Exception | None = None
    open_permits: int = 0
    quotas: list[QuotaUse] = field(default_factory=list)
    admissions: list[tuple[ModelRef, int]] = field(default_factory=list)
    has_admitted: asyncio.Event = field(default_factory=asyncio.Event)
    stands_still: bool = False
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, description: ModelDescription, function: Function) -> None:
        """Serve a model."""
        self.descriptions[description.ref] = description
        self.functions[description.ref] = function

    def resolve(self, name: str, version: str | None) -> ModelRef | None:
        """The highest version, by name, where none is asked for."""
        found = [ref for ref in self.descriptions if ref.name == name and version in (None, ref.version)]
        return max(found) if found else None

    def describe(self, ref: ModelRef) -> ModelDescription | None:
        """As the contract says."""
        return self.descriptions.get(ref)

    async def statistics(self, ref: ModelRef) -> ModelStatistics | None:
        """Counts nothing but runs."""
        if ref not in self.descriptions:
            return None
        return ModelStatistics(execution_count=len(self.requests))

    def models(self) -> tuple[ModelDescription, ...]:
        """As the contract says."""
        return tuple(self.descriptions[ref] for ref in sorted(self.descriptions))

    async def quota_use(self, principal: Principal | None) -> tuple[QuotaUse, ...]:
        """Of that holder, or of all."""
        return tuple(use for use in self.quotas if principal is None or use.holder in (principal.key, SHARED))

    async def quota_totals(self) -> tuple[QuotaTotal, ...]:
        """Counts none."""
        return ()

    async def admit(self, ref: ModelRef, principal: Principal, announced_bytes: int) -> InProcessPermit:
        """Room for one; no answer where it stands still, as a pool can whose gates see a connection."""
        if self.stands_still:
            await asyncio.Event().wait()
        description = self.descriptions.get(ref)
        if description is None:
            raise UnknownModel(f"Model {ref} is gone.")
        if description.state != "ready":
            raise ModelNotReady(f"Model '{ref.name}' is {description.state}.", retry_after_s=3.0)
        self.admissions.append((ref, announced_bytes))
        self.has_admitted.set()
        return InProcessPermit(self, ref)

    async def load(self, name: str, version: str | None, *, by: str, force: bool = False) -> ModelChange:
        """Remembers who wanted what; a model in `repository` comes to be served."""
        self.changes.append(("load", name, version, by, force))
        if self.change_error is not None:
            raise self.change_error
        found = self.repository.pop(name, None)
        if found is not None:
            self.add(*found)
        elif self.resolve(name, version) is None:
            raise UnknownModel(f"Request for unknown model: '{name}' has no folder.")
        return ModelChange(name, loaded=(version or "1",), default=version or "1")

    async def unload(self, name: str, version: str | None, *, by: str) -> ModelChange:
        """Remembers who wanted what; the model is gone."""
        self.changes.append(("unload", name, version, by, False))
        if self.change_error is not None:
            raise self.change_error
        for ref in [ref for ref in self.descriptions if ref.name == name and version in (None, ref.version)]:
            del self.descriptions[ref]
        return ModelChange(name, unloaded=(version or "1",))

    async def cancel(self, principal_key: str, client_id: str) -> int:
        """End the runs that this principal calls so."""
        found = [
            (request, run)
            for request, run in self.running
            if request.principal.key == principal_key and client_id in request.client_ids
        ]
        for request, run in found:
            self.taken_back.add(request.request_id)
            run.cancel()
        return len(found)


class InProcessPermit:
    """Implements contract.inference.Permit, and minds its rules."""

    def __init__(self, engine: InProcessEngine, ref: ModelRef) -> None:
        self._engine = engine
        self._ref = ref
        self.description = engine.descriptions[ref]
        self._memory: bytearray | None = None
        self._payload: memoryview | None = None
        self._has_run = self._is_released = False
        engine.open_permits += 1

    async def reserve(self, length: int) -> memoryview:
        """Again: other memory."""
        if self._has_run or self._is_released:
            raise RuntimeError("a permit reserves before its run and its release")
        if length > self._engine.memory_bytes:
            raise BodyTooLarge(f"{length} bytes; at most {self._engine.memory_bytes}.")
        self._memory = bytearray(b"\xaa" * length)
        return memoryview(self._memory)

    @property
    def place(self) -> Place | None:
        """This memory is nobody else's."""
        return None

    async def run(self, request: InferenceRequest) -> InferenceResponse:
        """Once."""
        if self._memory is None or self._has_run or self._is_released:
            raise RuntimeError("a permit runs once, after reserve and before release")
        self._has_run = True
        self._engine.requests.append(request)
        self._engine.has_begun.set()
        inputs = {
            tensor.name: bytes(self._memory[tensor.offset : tensor.offset + tensor.length]) for tensor in request.inputs
        }
        made = await self._run(request, inputs)
        specs = {spec.name: spec for spec in self._engine.descriptions[self._ref].signature.outputs}
        placed: list[PlacedTensor] = []
        payload = bytearray(b"\xbb" * 8)  # outputs need not begin where the payload does
        for name in request.outputs or tuple(specs):
            shape, data = made[name]
            placed.append(PlacedTensor(name, specs[name].datatype, shape, len(payload), len(data)))
            payload += data
        self._payload = memoryview(payload)
        return InferenceResponse(tuple(placed), self._payload, Timing(0.001, 0.002, request.rows, 1, "fake:1/0#1", 1))

    async def _run(self, request: InferenceRequest, inputs: Mapping[str, bytes]) -> Outputs:
        running = (request, asyncio.ensure_future(self._engine.functions[self._ref](request, inputs)))
        self._engine.running.append(running)
        try:
            return await running[1]
        except asyncio.CancelledError:
            if request.request_id in self._engine.taken_back:
                raise Cancelled("This request was cancelled by its caller.") from None
            raise
        finally:
            self._engine.running.remove(running)

    def release(self) -> None:
        """The answer's bytes are spoilt, so that whoever reads them later is found out."""
        if self._is_released:
            return
        self._is_released = True
        self._engine.open_permits -= 1
        if self._payload is not None:
            self._payload[:] = b"\xee" * len(self._payload)


async def forever(request: InferenceRequest, inputs: Mapping[str, bytes]) -> Outputs:
    """A model that never answers by itself."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("never")
