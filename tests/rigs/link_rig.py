"""A pool and its gates in one process, over pipes of memory; engines and answers are real."""

from __future__ import annotations

import asyncio

from tests.fakes.in_process_back_end import InProcessBackEnd
from tests.fakes.memory_pipes import HeapSections, MemoryPipes
from tests.rigs.engine_questions import catalog_of, until

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.decision import ModelRef
from torchgate.engine.installation import AnyInstallation
from torchgate.engine.link.gate_session import LinkLimits
from torchgate.engine.link.pool_end import PoolEnd
from torchgate.engine.link.remote_engine import RemoteEngine
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings

OWNER = ModelRef("owner", "1")


class LinkRig:
    """One pool at a time, any number of gates.

    Args:
        is_shared: the back end's memory lies in sections.
    """

    def __init__(self, *, is_shared: bool = True, limits: LinkLimits | None = None, seed: int = 0) -> None:
        self.pipes = MemoryPipes(seed)
        self.gate = asyncio.Event()
        self.gate.set()
        self.back_end = InProcessBackEnd(gate=self.gate, is_shared=is_shared)
        self.limits = limits or LinkLimits(copy_bytes=1 << 20)
        self.gates: list[RemoteEngine] = []
        self.noted: list[LifecycleEvent] = []
        self.installation = AnyInstallation()
        self.engine: Scheduler
        self.pool: PoolEnd

    async def start_pool(self, *models: str) -> None:
        self.engine = Scheduler(
            catalog_of(*(models or ("owner",))),
            self.back_end,
            EngineSettings(section_bytes=1 << 20),
            digest=lambda _: "sha256:0",
            installation=self.installation,
        )
        self.pool = PoolEnd(
            self.engine, HeapSections(), program="1.0", limits=self.limits, on_lifecycle=self.noted.append
        )
        self.engine.watch(self.pool.changed)
        await self.engine.start()
        self.pool.start()
        self.pipes.listen(self.pool.connected)
        await until(lambda: self.engine.is_warm)

    async def kill_pool(self) -> None:
        """As far as gates can see, its process is dead."""
        self.pipes.shut()
        await self.pool.close()

    async def start_gate(self) -> RemoteEngine:
        """A gate that knows the pool's models."""
        gate = RemoteEngine(self.pipes.connect, program="1.0")
        gate.start()
        self.gates.append(gate)
        assert await gate.wait_attached(10)
        await until(lambda: gate.is_warm)
        return gate

    def freeze_pool(self) -> None:
        """Its process stands still: connections are there, and nothing is read from them."""
        for channel in self.pipes.channels:
            if channel.other is not None:
                channel.other.is_reading = False

    def thaw_pool(self) -> None:
        """It goes on where it stood."""
        for channel in self.pipes.channels:
            if channel.other is not None:
                channel.other.read_again()

    def kill_gate(self, index: int) -> None:
        """As far as the pool can see, its process is dead."""
        self.pipes.channels[index].close()

    def cut(self, gate: RemoteEngine) -> None:
        """Break the connection that this gate has now."""
        for channel in self.pipes.channels:
            if gate._link is not None and channel is gate._link._channel:
                channel.cut()

    async def stop(self) -> None:
        for gate in self.gates:
            await gate.stop()
        await self.kill_pool()
        await self.engine.stop(1)

    @property
    def has_all_its_memory(self) -> bool:
        version = self.engine._versions[OWNER]
        return (
            self.back_end.versions[version.artifact.activation].has_all_its_memory
            and version.room.held_bytes == 0
            and version.room.coming == 0
            and version.permits == 0
        )
