"""One request of a principal whose circuit is half-open, let in to run alone."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class Verdict(Enum):
    """What became of it."""

    HARMLESS = "harmless"  # it ran to its end, whatever the model answered
    GUILTY = "guilty"  # it ended what ran it
    NOTHING = "nothing"  # it did not run


class Trial:
    """Ends once: by whoever runs it, or by its permit where it never comes to a run.

    Args:
        on_end: told the verdict.
    """

    __slots__ = ("_is_over", "_on_end", "is_in_line")

    def __init__(self, on_end: Callable[[Verdict], None]) -> None:
        self._on_end = on_end
        self._is_over = False
        self.is_in_line = False
        """Whether it is on its way to its run: whoever runs it ends it."""

    def end(self, verdict: Verdict) -> None:
        """This became of it; the first verdict counts."""
        if not self._is_over:
            self._is_over = True
            self._on_end(verdict)
