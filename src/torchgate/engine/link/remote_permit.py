"""A permit of the pool, held by a gate."""

from __future__ import annotations

import asyncio

from torchgate.contract.clock import Clock
from torchgate.contract.errors import DeadlineExceeded
from torchgate.contract.inference import InferenceRequest, InferenceResponse, ModelDescription
from torchgate.contract.os_services import Place
from torchgate.engine.link.pool_link import PoolLink
from torchgate.engine.link.wire import Admitted, Done, Reserve, Reserved, Run, RunFields, Stretch

_GRACE_S = 1.0
"""After a deadline, for the pool's own word of it, which knows more; a pool that stands still says none."""


class RemotePermit:
    """Implements contract.inference.Permit over one connection; with that connection it ends.

    Args:
        link: that it was given over.
        number: of it, on that connection.
        stretch: memory that came with it, or None.
        description: of what will answer.
        clock: monotonic.
    """

    __slots__ = ("_clock", "_has_run", "_is_released", "_link", "_number", "_stretch", "description")

    def __init__(
        self, link: PoolLink, number: int, stretch: Stretch | None, description: ModelDescription, clock: Clock
    ) -> None:
        self._link = link
        self._number = number
        self._stretch = stretch
        self.description = description
        self._clock = clock
        self._has_run = False
        self._is_released = False

    @property
    def place(self) -> Place | None:
        """None: the pool's memory is the pool's to give on."""
        return None

    async def reserve(self, length: int) -> memoryview:
        """Memory for the inputs; without a word to the pool where what came with the permit is enough.

        Raises:
            Overloaded, BodyTooLarge, Unavailable: as the engine says. RuntimeError: it ran, or was released.
        """
        if self._has_run or self._is_released:
            raise RuntimeError("a permit reserves before its run and its release. This is a bug.")
        if self._stretch is None or length > self._stretch.length:
            self._stretch = None
            answer = await self._ask(Reserve(self._number, length))
            if not isinstance(answer, Reserved):
                raise TypeError(f"{type(answer).__name__} to a Reserve. This is a bug of the pool.")
            self._stretch = answer.stretch
        return self._link.view(self._stretch)[:length]

    async def run(self, request: InferenceRequest) -> InferenceResponse:
        """Queue, run, and give the answer. Once per permit.

        Raises:
            TorchgateError: as contract.inference.Permit says. Unavailable: the pool died; it may have run.
            DeadlineExceeded: by the pool, or here where the pool stands still.
            RuntimeError: nothing was reserved, or it ran already.
        """
        if self._stretch is None or self._has_run or self._is_released:
            raise RuntimeError("a permit runs once, between reserve and release. This is a bug.")
        self._has_run = True
        fields = RunFields(
            request_id=request.request_id,
            inputs=request.inputs,
            rows=request.rows,
            remaining_s=request.deadline_at - self._clock(),
            outputs=request.outputs,
            priority=request.priority,
            parameters=request.parameters,
            client_ids=request.client_ids,
        )
        try:
            async with asyncio.timeout(max(fields.remaining_s, 0.0) + _GRACE_S):
                answer = await self._ask(Run(self._number, fields))
        except TimeoutError:
            raise DeadlineExceeded(
                "The request timeout passed, and the pool that runs the models said nothing."
            ) from None
        if not isinstance(answer, Done):
            raise TypeError(f"{type(answer).__name__} to a Run. This is a bug of the pool.")
        return InferenceResponse(answer.outputs, self._link.view(answer.stretch), answer.timing)

    def release(self) -> None:
        """Give the room back. Safe to call twice."""
        if not self._is_released:
            self._is_released = True
            self._link.leave(self._number)

    async def _ask(self, message: Reserve | Run) -> Admitted | Reserved | Done:
        try:
            return await self._link.ask_permit(self._number, message)
        except asyncio.CancelledError:
            self.release()  # the caller takes it back: the pool hears of it now, and not when its handler has ended
            raise
