"""One permit that a gate holds: asked one thing at a time, given back once, whatever the gate does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from torchgate.contract.clock import Clock
from torchgate.contract.errors import BodyTooLarge, Overloaded, TorchgateError
from torchgate.contract.inference import Engine, InferenceRequest, InferenceResponse, Permit
from torchgate.contract.principal import Principal
from torchgate.engine.link.failures import Failure, failure_of, unexpected_failure
from torchgate.engine.link.gate_memory import GateMemory
from torchgate.engine.link.lost_requests import LostRequest
from torchgate.engine.link.placement import examine_run
from torchgate.engine.link.wire import (
    LEAST_EARLY_BYTES,
    MOST_EARLY_BYTES,
    Admit,
    Admitted,
    Done,
    Failed,
    FromPool,
    LinkBroken,
    Reserved,
    RunFields,
    Stretch,
)
from torchgate.engine.section_memory import SectionPiece

_log = logging.getLogger("torchgate.engine")


class HoldsPermits(Protocol):
    """The session of a gate, as its permits use it."""

    @property
    def engine(self) -> Engine:
        """What is asked."""
        ...

    @property
    def memory(self) -> GateMemory:
        """Of this gate."""
        ...

    @property
    def clock(self) -> Clock:
        """Monotonic."""
        ...

    def send(self, message: FromPool) -> None:
        """To the gate."""
        ...

    def refused(self) -> None:
        """Called before a refusal is sent: what the gate knows of models may be too old."""
        ...

    def cut_off(self, reason: str) -> None:
        """End this gate's connection."""
        ...

    def gave_back(self, number: int) -> None:
        """A permit holds nothing any more."""
        ...


class PoolPermit:
    """Carries out what a gate asks of one permit.

    Args:
        session: of the gate.
        admit: what began it.
        principal: whose it is.

    Process: the event loop only.
    """

    __slots__ = (
        "_admit", "_inputs", "_is_asked", "_outputs", "_permit", "_principal", "_request_id", "_reserved", "_session",
        "_task", "_view", "is_released",
    )  # fmt: skip

    def __init__(self, session: HoldsPermits, admit: Admit, principal: Principal) -> None:
        self._session = session
        self._admit = admit
        self._principal = principal
        self._permit: Permit | None = None
        self._request_id = ""  # of what was run
        self._reserved = -1  # bytes; less than 0: nothing was reserved
        self._view: memoryview | None = None  # where inputs are copied to, for a back end that shares no memory
        self._inputs: SectionPiece | None = None
        self._outputs: SectionPiece | None = None
        self.is_released = False
        self._is_asked = False
        """Whether the gate waits for an answer: its next word may be here before the end of the task that gave it."""
        self._task: asyncio.Task[None] | None = None
        self._begin(self._enter)

    @property
    def under_way(self) -> LostRequest | None:
        """What the gate has had run and not yet given back, or None."""
        if self.is_released or not self._request_id:
            return None
        return LostRequest(self._request_id, self._principal.key, self._admit.ref)

    def reserve(self, length: int) -> None:
        """The gate wants other memory.

        Raises:
            LinkBroken: it may not, now.
        """
        if length < 0:
            raise LinkBroken(f"{length} bytes wanted")
        self._begin(partial(self._reserve_more, self._held(), length))

    def run(self, fields: RunFields) -> None:
        """The gate wants its request run.

        Raises:
            LinkBroken: it may not, now, or not this.
        """
        permit = self._held()
        if self._reserved < 0:
            raise LinkBroken("a run before memory was reserved")
        self._begin(partial(self._run, permit, fields))

    def release(self) -> None:
        """The gate needs it no more, or is gone: what runs is taken back, and all of it is given back."""
        if self.is_released:
            return
        self.is_released = True
        if self._task is None:
            self._give_back()
        else:
            self._task.cancel()

    def _held(self) -> Permit:
        if self._is_asked:
            raise LinkBroken("two things asked of one permit at once")
        if self._permit is None:
            raise LinkBroken("a permit that was refused")
        return self._permit

    def _begin(self, work: Callable[[], Awaitable[FromPool]]) -> None:
        self._is_asked = True
        self._task = asyncio.get_running_loop().create_task(self._answer(work))
        self._task.add_done_callback(self._ended)

    async def _answer(self, work: Callable[[], Awaitable[FromPool]]) -> None:
        session = self._session
        try:
            answer = await work()
        except LinkBroken as error:
            session.cut_off(str(error))
        except TorchgateError as error:
            self._refuse(failure_of(error))
        except Exception as error:  # noqa: BLE001 - the gate must hear of it, and the others must not
            _log.exception("A request of a gate failed unexpectedly.")
            self._refuse(unexpected_failure(error))
        else:
            self._is_asked = False
            session.send(answer)

    def _refuse(self, failure: Failure) -> None:
        self._is_asked = False
        self._session.refused()
        self._session.send(Failed(self._admit.permit, failure))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._task is not task:
            return  # the next has begun
        self._task = None
        if self.is_released:
            self._give_back()

    async def _enter(self) -> FromPool:
        admit, session = self._admit, self._session
        self._permit = await session.engine.admit(admit.ref, self._principal, admit.announced_bytes)
        found = self._permit.description
        description = found if found.activation != admit.activation else None
        if admit.announced_bytes > MOST_EARLY_BYTES:
            return Admitted(admit.permit, None, description)
        try:
            stretch = await self._reserve(self._permit, max(LEAST_EARLY_BYTES, admit.announced_bytes))
        except (Overloaded, BodyTooLarge):
            stretch = None  # the decoded inputs may need less; then this is said of them
        return Admitted(admit.permit, stretch, description)

    async def _reserve_more(self, permit: Permit, length: int) -> FromPool:
        return Reserved(self._admit.permit, await self._reserve(permit, length))

    async def _reserve(self, permit: Permit, length: int) -> Stretch:
        self._reserved = -1
        if self._inputs is not None:
            self._inputs.release()
            self._inputs = self._view = None
        view = await permit.reserve(length)
        place = permit.place
        if place is None:
            self._inputs = self._session.memory.borrow(length)
            self._view, place = view, self._inputs.place
        if place is None:
            raise RuntimeError("memory for copies that no gate can see. This is a bug.")
        stretch = self._session.memory.stretch(place, length)
        self._reserved = length
        return stretch

    async def _run(self, permit: Permit, fields: RunFields) -> FromPool:
        session, admit = self._session, self._admit
        examine_run(fields, permit.description, self._reserved)
        self._reserved = -1  # so that no second run begins
        self._request_id = fields.request_id
        if self._view is not None and self._inputs is not None:
            self._view[:] = self._inputs.view
        request = InferenceRequest(
            request_id=fields.request_id,
            principal=self._principal,
            inputs=fields.inputs,
            rows=fields.rows,
            deadline_at=session.clock() + fields.remaining_s,
            outputs=fields.outputs,
            priority=fields.priority,
            parameters=fields.parameters,
            client_ids=fields.client_ids,
        )
        response = await permit.run(request)
        return Done(admit.permit, response.outputs, self._placed(response), response.timing)

    def _placed(self, response: InferenceResponse) -> Stretch:
        place, length = response.place, len(response.payload)
        if place is None:
            self._outputs = self._session.memory.borrow(length)
            self._outputs.view[:] = response.payload
            place = self._outputs.place
        if place is None:
            raise RuntimeError("memory for copies that no gate can see. This is a bug.")
        return self._session.memory.stretch(place, length)

    def _give_back(self) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.release()
        for piece in (self._inputs, self._outputs):
            if piece is not None:
                piece.release()
        self._inputs = self._outputs = None
        self._session.gave_back(self._admit.permit)
