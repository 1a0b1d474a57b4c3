"""What a graphics driver says of itself and of its devices, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class DriverFacts(msgspec.Struct, frozen=True):
    """A driver as it describes itself.

    Args:
        release: of the driver, e.g. `580.159.03`; empty where nobody can say.
        cuda: the newest CUDA that it knows, as 1000 x major + 10 x minor; 0 where nobody can say.
        models: UUID of each device → `WDDM`, `TCC` or `MCDM`; empty where the system has no such thing.
        trouble: why it says nothing, or not all, for the operator; or empty.
    """

    release: str = ""
    cuda: int = 0
    models: Mapping[str, str] = msgspec.field(default_factory=dict)
    trouble: str = ""


class GpuDriver(Protocol):
    """Asks a driver; may hang with it, so that only processes that can be thrown away do so."""

    def facts(self) -> DriverFacts:
        """What it says now; never raises."""
        ...
