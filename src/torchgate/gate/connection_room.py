"""Room for one connection more where all places are taken: whoever has waited longest for its client makes it.

A silent connection costs its client nothing. Were the newest refused, whoever opens as many as there may be would keep
everybody out, again and again. So the oldest that has never sent a whole head goes, and where there is none, the one
that is idle longest after its last answer: HTTP lets a server close those at any time (RFC 9112, section 9.5). What has
a request never goes, and whoever had an answer and reads it slowly gets all of it.

Source: nginx does the same with the connections that it calls reusable.
"""

from __future__ import annotations

from typing import Protocol


class MakesRoom(Protocol):
    """A connection, as it is seen here."""

    def cut(self) -> None:
        """End at once."""
        ...

    def leave(self) -> None:
        """End, once what was written to the client has left."""
        ...


class ConnectionRoom:
    """The connections of one server that wait for their clients, by age.

    Process: the event loop only.
    """

    __slots__ = ("_headless", "_idle", "_leaving")

    def __init__(self) -> None:
        self._headless: dict[MakesRoom, None] = {}
        self._idle: dict[MakesRoom, None] = {}
        self._leaving: dict[MakesRoom, None] = {}

    def has(self, connections: int, most: int) -> bool:
        """Whether there is room, made if need be.

        Args:
            connections: those that are open, the newest among them.
            most: how many there may be.
        """
        if connections - len(self._leaving) <= most:
            return True
        silent = next(iter(self._headless), None)
        oldest = silent or next(iter(self._idle), None)
        if oldest is None:
            return False
        self.busy(oldest)
        if len(self._leaving) >= most:  # they take their time, or never read
            self._cut_longest_leaving()
        self._leaving[oldest] = None
        if silent is None:
            oldest.leave()
        else:
            oldest.cut()
        return True

    def arrived(self, connection: MakesRoom) -> None:
        """It is open, and has sent nothing."""
        self._headless[connection] = None

    def busy(self, connection: MakesRoom) -> None:
        """It has a request."""
        self._headless.pop(connection, None)
        self._idle.pop(connection, None)

    def idle(self, connection: MakesRoom) -> None:
        """Its request has its answer."""
        self._idle[connection] = None

    def gone(self, connection: MakesRoom) -> None:
        """It is closed."""
        self.busy(connection)
        self._leaving.pop(connection, None)

    def _cut_longest_leaving(self) -> None:
        longest = next(iter(self._leaving))
        self._leaving[longest] = self._leaving.pop(longest)  # it is the last to be cut once more, until it is gone
        longest.cut()
