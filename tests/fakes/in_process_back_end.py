"""A back end without any process: it runs a Python function, and proves that nothing above the seam needs one.

It knows one model, the one of tests/models/owner, and does by itself what that model's marked numbers ask for.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Sequence

from tests.fakes.memory_pipes import HeapSection, HeapSections

from torchgate.contract.back_end import (
    Artifact,
    Batch,
    BatchAnswer,
    BatchItem,
    BatchLost,
    ItemAnswer,
    Slot,
    StateListener,
)
from torchgate.contract.errors import BodyTooLarge, ModelError, ModelNotReady, Overloaded, TorchgateError
from torchgate.contract.tensors import PlacedTensor
from torchgate.contract.worker_limits import Enforcement
from torchgate.engine.section_memory import SectionMemory

RAISES, DIES, HANGS = -13, -666, -999
HANGS_S = 1.5
"""Longest time until a run that hangs is ended: sooner than a worker's, since nothing here could need it."""
"""Numbers that the owner model of tests/models treats alike."""


class HeapSlot:
    """Ordinary memory."""

    def __init__(self, version: Version, length: int) -> None:
        self._version = version
        self._memory = bytearray(length)
        self._is_released = False
        version.free_bytes -= length

    @property
    def view(self) -> memoryview:
        return memoryview(self._memory)

    @property
    def place(self) -> None:
        return None

    def release(self) -> None:
        if not self._is_released:
            self._is_released = True
            self._version.free_bytes += len(self._memory)


class Version:
    """What the back end keeps of one."""

    def __init__(
        self, artifact: Artifact, listener: StateListener, memory_bytes: int, section: HeapSection | None = None
    ) -> None:
        self.artifact = artifact
        self.listener = listener
        self.free = artifact.replicas
        self.memory_bytes = self.free_bytes = memory_bytes
        self.wanting: deque[asyncio.Future[None]] = deque()
        self.section = section
        self._pieces = SectionMemory(section.view, 0, memory_bytes, section) if section is not None else None

    def take(self, length: int) -> Slot:
        if self._pieces is None:
            return HeapSlot(self, length)
        piece = self._pieces.take(length)
        if piece is None:
            raise Overloaded("not now", retry_after_s=1.0)
        return piece

    @property
    def has_all_its_memory(self) -> bool:
        free = self.free_bytes if self._pieces is None else self._pieces.free_bytes
        return free == self.memory_bytes


class InProcessBackEnd:
    """Implements contract.back_end.BackEnd.

    Args:
        memory_bytes: for inputs and outputs of one version.
        gate: where given, each run waits until it is set.
        is_shared: memory lies in sections, as that of local workers does.
        predict_s: that each run says it took.
    """

    def __init__(
        self,
        memory_bytes: int = 1 << 20,
        gate: asyncio.Event | None = None,
        *,
        is_shared: bool = False,
        predict_s: float = 0.0,
    ) -> None:
        self._is_shared = is_shared
        self.expected: list[Artifact] = []
        self.loading: asyncio.Event | None = None  # where given, no version is ready before it is set
        self.ran: list[Batch] = []
        self.versions: dict[int, Version] = {}
        self._memory_bytes = memory_bytes
        self._gate = gate
        self.predict_s = predict_s

    def expect(self, artifacts: Sequence[Artifact]) -> None:
        self.expected += artifacts

    async def activate(self, artifact: Artifact, listener: StateListener) -> None:
        listener("loading", "", 0)
        if self.loading is not None:
            await self.loading.wait()
        if artifact.ref.name.startswith("broken") or artifact.parameters.get("fails"):
            listener("failed", "it is broken", 0)
            return
        self.versions[artifact.activation] = Version(
            artifact,
            listener,
            self._memory_bytes,
            HeapSections().create(self._memory_bytes) if self._is_shared else None,
        )
        listener("ready", "", artifact.replicas)

    async def deactivate(self, activation: int) -> None:
        self.versions.pop(activation, None)

    def reserve(self, activation: int, length: int) -> Slot:
        version = self.versions[activation]
        if length > version.memory_bytes:
            raise BodyTooLarge("never")
        if length > version.free_bytes:
            raise Overloaded("not now", retry_after_s=1.0)
        return version.take(length)

    def free_replicas(self, activation: int) -> int:
        return self.versions[activation].free if activation in self.versions else 0

    def enforcement(self, activation: int) -> tuple[Enforcement, ...]:
        return ()

    async def run(self, batch: Batch, *, quarantined: bool = False, can_wait: bool = False) -> BatchAnswer:
        version = self.versions.get(batch.activation)
        if version is None:
            raise ModelNotReady("gone")
        self.ran.append(batch)
        if quarantined:
            return await self._answer(batch, version, "quarantine")
        while version.free == 0:
            future = asyncio.get_running_loop().create_future()
            version.wanting.append(future)
            await future
        version.free -= 1
        try:
            return await self._answer(batch, version, f"{version.artifact.ref}/0#1")
        finally:
            version.free += 1
            if version.wanting:
                version.wanting.popleft().set_result(None)
            version.listener("ready", "", version.artifact.replicas)

    async def stop(self) -> None:
        self.versions.clear()

    async def _answer(self, batch: Batch, version: Version, worker: str) -> BatchAnswer:
        numbers = [numbers_of(item) for item in batch.items]
        if self._gate is not None:
            await self._gate.wait()
        every = [number for some in numbers for number in some]
        if DIES in every:
            raise BatchLost(hung=False, worker=worker)
        if HANGS in every:
            await asyncio.sleep(min(version.artifact.max_run_s, HANGS_S))
            raise BatchLost(hung=True, worker=worker)
        answers = tuple(_item(item, some, version) for item, some in zip(batch.items, numbers, strict=True))
        return BatchAnswer(answers, 0.0, self.predict_s, 0.0, worker)


def numbers_of(item: BatchItem) -> tuple[int, ...]:
    placed = item.request.inputs[0]
    return struct.unpack_from(f"<{item.request.rows}q", item.slot.view, placed.offset)


def _item(item: BatchItem, numbers: tuple[int, ...], version: Version) -> ItemAnswer | TorchgateError:
    if RAISES in numbers:
        return ModelError("It failed on this request.", detail="ValueError: marked")
    doubled = struct.pack(f"<{len(numbers)}q", *(2 * number + 1 for number in numbers))
    key = item.request.principal.key.encode()
    owners = (struct.pack("<I", len(key)) + key) * len(numbers)
    slot = version.take(len(doubled) + len(owners))
    slot.view[:] = doubled + owners
    outputs = (
        PlacedTensor("double", "INT64", (len(numbers), 1), 0, len(doubled)),
        PlacedTensor("owner", "BYTES", (len(numbers), 1), len(doubled), len(owners)),
    )
    wanted = item.request.outputs
    return ItemAnswer(tuple(one for one in outputs if wanted is None or one.name in wanted), slot)
