"""One request on its way through the queue, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from torchgate.contract.back_end import Artifact, Slot
from torchgate.contract.errors import NoCallerToken, TorchgateError
from torchgate.contract.inference import InferenceRequest, InferenceResponse, Timing
from torchgate.contract.tensors import Signature
from torchgate.engine.held_slot import HeldSlot
from torchgate.engine.quota_charge import Charge
from torchgate.engine.trial import Trial

if TYPE_CHECKING:
    from torchgate.engine.compute_bill import LostTime
    from torchgate.engine.turns import Turn

ShapeKey = tuple[tuple[int, ...] | str, ...]


def open_inputs(signature: Signature) -> tuple[int, ...]:
    """Places of the inputs that leave a dimension open: only these can keep two requests from sharing a batch."""
    return tuple(index for index, spec in enumerate(signature.inputs) if -1 in spec.shape)


def shape_key(request: InferenceRequest, opened: tuple[int, ...]) -> ShapeKey:
    """Shapes of one row of each open input; requests with equal keys can share a batch."""
    return tuple([request.inputs[index].shape[1:] for index in opened]) if opened else ()


def batch_key(artifact: Artifact) -> Callable[[InferenceRequest], ShapeKey]:
    """What tells a version's requests apart that must not share a batch."""
    opened, name = open_inputs(artifact.signature), artifact.ref.name
    if artifact.impersonates:
        return lambda request: token_key(request, name) + shape_key(request, opened)
    return lambda request: shape_key(request, opened)


def token_key(request: InferenceRequest, model: str) -> ShapeKey:
    """Whose rights a model acts with that acts with its caller's: who has others shares no batch.

    Raises:
        NoCallerToken: it came without a token, or with one that is given back already.
    """
    token = request.token
    if token is None or not token.is_open:
        raise NoCallerToken.for_model(model)
    return (request.principal.key, token.likeness)


class Waiting:
    """An accepted request until its caller has an answer.

    Args:
        request: decoded.
        slot: where its inputs lie.
        shape_key: shapes of one row of each input; requests with equal keys can share a batch. Empty where the
            signature leaves nothing open. Behind the token's key where the model acts with its caller's rights.
        accepted_at: on the monotonic clock.
        answer: what the caller awaits; done means that nobody cares any more what becomes of the rows.
        charge: where the time of its workers is charged; None: no quota is about it.
    """

    __slots__ = (
        "accepted_at", "answer", "charge", "cost_s", "is_queued", "lost_time", "memory", "paid_s", "place", "request",
        "shape_key", "slot", "started_at", "timing", "trial", "turn",
    )  # fmt: skip

    def __init__(
        self,
        request: InferenceRequest,
        slot: HeldSlot,
        shape_key: ShapeKey,
        accepted_at: float,
        answer: asyncio.Future[InferenceResponse],
        charge: Charge | None = None,
    ) -> None:
        self.request = request
        self.slot = slot
        self.shape_key = shape_key
        self.accepted_at = accepted_at
        self.answer = answer
        self.timing = Timing()
        self.started_at = 0.0
        self.memory: Slot | None = None
        self.charge = charge
        self.lost_time: LostTime | None = None  # of its batch, where that was lost
        self.is_queued = False
        self.place = 0
        self.turn: Turn | None = None
        self.cost_s = 0.0  # estimated, from the moment when it was taken for a batch
        self.paid_s = 0.0  # by its tier, for the batch that it leads
        self.trial: Trial | None = None

    def fail(self, error: TorchgateError) -> None:
        """End it with an error, unless it has ended."""
        if not self.answer.done():
            self.answer.set_exception(error)
