"""The memory of one request's inputs, kept while a batch may still read it, whoever has gone meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from torchgate.contract.back_end import Slot


class HeldSlot:
    """A back end's slot with two kinds of owners: the permit, and the batch that the request was taken for.

    A caller may go at any moment: while its batch's task has not begun, while it waits for a worker, or between a
    lost batch and quarantine. Memory given back then would be handed to another request and read by this one's run.

    Args:
        slot: as reserved.
        on_free: called once, when nobody holds it any more.
    """

    __slots__ = ("_holds", "_is_released", "_on_free", "slot")

    def __init__(self, slot: Slot, on_free: Callable[[], None]) -> None:
        self.slot = slot
        self._on_free = on_free
        self._holds = 0
        self._is_released = False

    def hold(self) -> None:
        """A batch may read it until `let_go`."""
        self._holds += 1

    def let_go(self) -> None:
        """The end of what `hold` began; once each."""
        self._holds -= 1
        if not self._holds and self._is_released:
            self._free()

    def release(self) -> None:
        """The permit needs it no more. Safe to call twice."""
        if not self._is_released:
            self._is_released = True
            if not self._holds:
                self._free()

    def _free(self) -> None:
        self.slot.release()
        self._on_free()
