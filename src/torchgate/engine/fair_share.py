"""Who comes next among several that share something: virtual time, in seconds of use for each unit of weight.

Everyone who wants something has a share with what it has had. Whoever has had least, weighed, is next. Use is known
only afterwards: until then an estimate stands for it in the rank alone, so that no estimate, however wrong, is ever
held against anybody.
"""

from __future__ import annotations


class Share:
    """What one of them has had.

    Args:
        weight: of two who always want, the one with twice the weight gets twice as much.
    """

    __slots__ = ("had", "rank", "runs", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.had = 0.0
        """Measured use for each unit of weight, in seconds; for those who were idle never less than what the others
        had, so that nobody saves up."""
        self.rank = 0.0
        """`had`, and estimates of what runs now: the least is next."""
        self.runs = 0
        """What has begun and not ended."""

    def begin(self, estimate_s: float) -> None:
        """Something of it runs from now on."""
        self.runs += 1
        self.rank += estimate_s / self.weight

    def end(self, estimate_s: float, used_s: float) -> None:
        """It ran, and this is what it used; the estimate is the one that it began with."""
        self.runs -= 1
        self.had += used_s / self.weight
        if self.runs:
            self.rank += (used_s - estimate_s) / self.weight
        else:
            self.rank = self.had


class FairTime:
    """Where those who come stand among those who are there: beside whoever was served last, never before."""

    __slots__ = ("_active", "_most", "now")

    def __init__(self) -> None:
        self.now = 0.0
        """What whoever was served last had had."""
        self._most = 0.0
        self._active = 0

    def enter(self, share: Share) -> None:
        """It wants something, after it wanted nothing and nothing of it ran. What it had too much of, it still had."""
        self._active += 1
        share.had = max(share.had, self.now)
        share.rank = share.had

    def lead(self, share: Share) -> None:
        """It is served next."""
        self.now = max(self.now, share.had)

    def leave(self, share: Share) -> None:
        """It wants nothing more, and nothing of it runs."""
        self._active -= 1
        self._most = max(self._most, share.had)
        if not self._active:
            self.now = self._most  # nobody wanted anything: what anyone had was taken from nobody
