"""Room in the engine for one request, held from the door until its answer is encoded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torchgate.contract.back_end import BackEnd, Slot
from torchgate.contract.errors import QuotaExceeded, TorchgateError, Unavailable
from torchgate.contract.inference import InferenceRequest, InferenceResponse, ModelDescription
from torchgate.contract.os_services import Place
from torchgate.engine.admission import Room
from torchgate.engine.dispatch import Dispatcher
from torchgate.engine.held_slot import HeldSlot
from torchgate.engine.quota_charge import Charge
from torchgate.engine.trial import Trial, Verdict


class EnginePermit:
    """Implements contract.inference.Permit.

    Args:
        description: of the version that answers, as it is now.
        room: where `held` bytes are held.
        key: of the principal that holds them.
        dispatcher: of the version.
        trial: where the request was let in to run alone.
        back_end: where inputs are reserved.
        refusal: why nothing may be queued now, or None; asked again before the queue.
        on_end: called once, when the permit is released.
        charge: what it has taken of its principal's quotas; None where there are none.
    """

    __slots__ = (
        "_answer", "_back_end", "_charge", "_dispatcher", "_has_run", "_held", "_is_coming", "_is_released", "_key",
        "_on_end", "_refusal", "_room", "_slot", "_trial", "description",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - each of its parts once, by keyword
        self,
        description: ModelDescription,
        room: Room,
        held: int,
        *,
        key: str,
        dispatcher: Dispatcher,
        trial: Trial | None,
        back_end: BackEnd,
        refusal: Callable[[], TorchgateError | None],
        on_end: Callable[[], None],
        charge: Charge | None = None,
    ) -> None:
        self.description = description
        self._room = room
        self._held = held
        self._key = key
        self._dispatcher = dispatcher
        self._trial = trial
        self._back_end = back_end
        self._refusal = refusal
        self._on_end = on_end
        self._charge = charge
        self._slot: HeldSlot | None = None
        self._answer: Slot | None = None
        self._is_coming = True
        self._has_run = False
        self._is_released = False

    async def reserve(self, length: int) -> memoryview:
        """Shared memory for the inputs; what was reserved before is given back.

        Raises:
            Overloaded, QuotaExceeded, BodyTooLarge: as contract.inference.Permit says.
            RuntimeError: it ran, or was released.
        """
        if self._has_run or self._is_released:
            raise RuntimeError("a permit reserves before its run and its release. This is a bug.")
        if self._slot is not None:
            self._slot.release()
            self._slot, self._held = None, 0
        try:
            if self._charge is not None:
                self._charge.exchange_bytes(length)
            self._held = held = self._room.exchange(self._key, self._held, length, self._dispatcher.retry_after_s)
            slot = self._back_end.reserve(self.description.activation, length)
        except (QuotaExceeded, Unavailable):
            self._refund()
            raise
        self._slot = HeldSlot(slot, partial(self._room.leave, self._key, held))
        return slot.view

    @property
    def place(self) -> Place | None:
        """Of the reserved memory, for another process."""
        return None if self._slot is None else self._slot.slot.place

    async def run(self, request: InferenceRequest) -> InferenceResponse:
        """Queue, run, and give the answer. Once per permit.

        Raises:
            TorchgateError: as contract.inference.Permit says. RuntimeError: nothing was reserved, or it ran already.
        """
        if self._slot is None or self._has_run or self._is_released:
            raise RuntimeError("a permit runs once, between reserve and release. This is a bug.")
        self._has_run = True
        self._arrived()
        try:
            self._enter_queue(request)
        except (QuotaExceeded, Unavailable):
            self._refund()
            raise
        response, self._answer = await self._dispatcher.run(request, self._slot, self._trial, self._charge)
        return response

    def release(self) -> None:
        """Give the room back. Safe to call twice."""
        if self._is_released:
            return
        self._is_released = True
        if self._trial is not None and not self._trial.is_in_line:
            self._trial.end(Verdict.NOTHING)
        if self._is_coming:
            self._arrived()
            self._dispatcher.wake()  # who waited for this one need not
        if self._slot is None:
            self._room.leave(self._key, self._held)
        else:
            self._slot.release()  # its bytes are free when no run can read them any more
        if self._answer is not None:
            self._answer.release()
        if self._charge is not None:
            self._charge.end()
        self._on_end()

    def _enter_queue(self, request: InferenceRequest) -> None:
        """Settle what is known only now, before the queue.

        Raises:
            TorchgateError: nothing may be queued now, or not so much.
        """
        error = self._refusal()
        if error is not None:
            raise error
        if self._trial is None:
            self._dispatcher.places.check(request.principal)
        if self._charge is not None:
            self._charge.exchange_bytes(sum([tensor.length for tensor in request.inputs]))
            self._charge.take_rows(request.rows)

    def _refund(self) -> None:
        """A refusal uses nothing up: neither the server's, nor that of the caller's own quota."""
        if self._charge is not None:
            self._charge.refund()

    def _arrived(self) -> None:
        self._is_coming = False
        self._room.coming -= 1
