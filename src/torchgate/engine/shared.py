"""What all model versions of one engine have in common."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.clock import Clock
from torchgate.engine.client_ids import ClientIds
from torchgate.engine.devices import Devices
from torchgate.engine.ratings import Ratings


def nobody_listens(event: LifecycleEvent) -> None:
    """What `on_lifecycle` is where nobody wants to know."""


@dataclass(frozen=True)
class Shared:
    """Made once by the scheduler, handed to each version.

    Args:
        clock: monotonic.
        batch_ids: so that an id is unique in this process.
        activations: numbers each loading of a version.
        client_ids: of the requests of all versions: a caller need not say to which model it spoke.
        ratings: what a principal's roles are worth in each queue.
        devices: that versions share.
        on_lifecycle: told of what an auditor wants to know besides requests.
    """

    clock: Clock
    batch_ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    activations: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    client_ids: ClientIds = field(default_factory=ClientIds)
    ratings: Ratings = field(default_factory=Ratings)
    devices: Devices = field(default_factory=lambda: Devices(os.cpu_count() or 1))
    on_lifecycle: Callable[[LifecycleEvent], None] = nobody_listens
