"""A batch that was lost, while its requests are tried one by one: who may be guilty."""

from __future__ import annotations

from collections.abc import Sequence

from torchgate.contract.back_end import BatchLost
from torchgate.engine.waiting import Waiting


class LostBatch:
    """Finds the guilty one where it can't be tried any more, because its caller has gone meanwhile.

    Else whoever sends rows that hang, and hangs up before max_run_s, would never be found out. A death is not held
    against those who have gone: a worker may also be killed from outside, while a run beyond max_run_s is a fact.

    Args:
        batch: its requests, all of which will be told `harmless`, `guilty` or `untried`, once each.
        lost: how it was lost.
    """

    __slots__ = ("_has_guilty", "_hung", "_left", "_untried")

    def __init__(self, batch: Sequence[Waiting], lost: BatchLost) -> None:
        self._left = len(batch)
        self._hung = lost.hung
        self._has_guilty = False
        self._untried: set[str] = set()

    def harmless(self) -> str | None:
        """One ran alone to its end."""
        return self._one_less()

    def guilty(self) -> str | None:
        """One ended what ran it, alone."""
        self._has_guilty = True
        return self._one_less()

    def untried(self, waiting: Waiting) -> str | None:
        """One was not run again."""
        self._untried.add(waiting.request.principal.key)
        return self._one_less()

    def _one_less(self) -> str | None:
        """With the last one: the principal that alone can have been it, if there is one."""
        self._left -= 1
        if self._left or self._has_guilty or not self._hung or len(self._untried) != 1:
            return None
        return next(iter(self._untried))
