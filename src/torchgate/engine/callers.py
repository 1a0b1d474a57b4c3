"""Those who wait for an answer, and what ends their waiting before one is there."""

from __future__ import annotations

from collections.abc import Callable

from torchgate.contract.decision import ModelRef
from torchgate.engine.circuits import Circuits
from torchgate.engine.deadlines import Deadlines
from torchgate.engine.run_errors import taken_back, too_late
from torchgate.engine.shared import Shared
from torchgate.engine.waiting import Waiting


class Callers:
    """Of one version. Whatever ends a request early, its caller hears it now, wherever the rows are.

    Args:
        ref: the version.
        shared: clock, and the names that callers have for their requests.
        circuits: of the version.
        remove: takes a request out of the queue, if it is in it.
    """

    def __init__(self, ref: ModelRef, shared: Shared, circuits: Circuits, remove: Callable[[Waiting], None]) -> None:
        self._ref = ref
        self._client_ids = shared.client_ids
        self._circuits = circuits
        self._remove = remove
        self._deadlines = Deadlines(self._expired, shared.clock)

    def add(self, waiting: Waiting) -> None:
        """Its caller waits from now on."""
        self._deadlines.add(waiting)
        if waiting.request.client_ids:
            self._client_ids.add(waiting, self._taken_back)

    def remove(self, waiting: Waiting) -> None:
        """Its caller has an answer, or has gone."""
        self._deadlines.remove(waiting)
        if waiting.request.client_ids:
            self._client_ids.remove(waiting)

    def refuse(self, key: str) -> None:
        """This principal's circuit is open now: its requests that wait in the queue never start."""
        for waiting in self._deadlines.watched():
            refusal = self._circuits.refusal(key, is_within=True)
            if waiting.is_queued and waiting.request.principal.key == key and refusal is not None:
                self._remove(waiting)
                waiting.fail(refusal)

    def close(self) -> None:
        """No timer is left."""
        self._deadlines.close()

    def _taken_back(self, waiting: Waiting) -> None:
        self._remove(waiting)
        waiting.fail(taken_back(waiting.request))

    def _expired(self, waiting: Waiting) -> None:
        self._remove(waiting)
        waiting.fail(too_late(self._ref, waiting.request))
