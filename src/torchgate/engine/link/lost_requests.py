"""What the pool's trail is told of requests whose gate went away: nobody else is left to tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.decision import ModelRef

_TOLD = 64
"""Of one gate; the rest is counted. Each costs a write that waits for the disk."""
_ID_CHARACTERS = 64


class LostRequest(msgspec.Struct, frozen=True):
    """One that a gate had let in and the pool had begun, and that the gate had not given back.

    Args:
        request_id: the gate's.
        principal_key: whose.
        ref: of the model.
    """

    request_id: str
    principal_key: str
    ref: ModelRef


def lost_requests(gate: str, lost: Iterable[LostRequest], at: float) -> Iterator[LifecycleEvent]:
    """An event for each, and one for those beyond.

    Whether an answer had left, the pool can't know; the gate's own chain says it.

    Args:
        gate: `gate 4711 of uid:1001`.
        at: Unix seconds.
    """
    left = iter(lost)
    for one in islice(left, _TOLD):
        what = f"Request {one.request_id[:_ID_CHARACTERS]} of {one.principal_key} to {one.ref}"
        yield LifecycleEvent(at, "failure", "gate", f"{what} was under way when {gate} went away.")
    if count := sum(1 for _ in left):
        yield LifecycleEvent(at, "failure", "gate", f"{count} more requests were under way when {gate} went away.")
