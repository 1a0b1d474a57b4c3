"""Rights of a caller, lent to the model that runs its rows: a Windows token on its way from the door to one worker.

`windows` fills the Protocols, and a fake for every system; both pass the same suite.
"""

from __future__ import annotations

from typing import NoReturn, Protocol


class CallerToken(Protocol):
    """A caller's token, kept by us until its request is over: its rights, while TokenFacts are its name."""

    @property
    def likeness(self) -> str:
        """Equal for tokens that allow exactly the same; of one user there may be several that do not."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether it can still be lent."""
        ...

    def close(self) -> None:
        """Give it back; what was lent of it lives on where it is. Safe to call twice."""
        ...


class CannotImpersonate(Exception):
    """A thread could not become the caller, and is itself; the text says why."""


class Impersonation(Protocol):
    """What a worker's process can do with a token that was lent to it.

    Thread/process: each call is about the thread that makes it, but for `who_still_acts`.
    """

    def obstacle(self) -> str:
        """Why this process can act as nobody else; empty: it can."""
        ...

    def user_of(self, token: int) -> str:
        """The SID of a lent token's user.

        Raises:
            CannotImpersonate: it is no token.
        """
        ...

    def begin(self, token: int) -> None:
        """From here on this thread acts with the token's rights.

        Raises:
            CannotImpersonate: it does not: it acts as somebody already, or what Windows gave it is less than the
                rights of an impersonation. The thread is itself again.
        """
        ...

    def end(self) -> None:
        """From here on this thread is itself again; where that can't be had, the process has ended."""
        ...

    def who_still_acts(self) -> str:
        """Which threads of this process act as somebody else now, in words; empty: none, and it is certain."""
        ...

    def give_back(self, token: int) -> None:
        """Close what was lent; where that can't be done, the process has ended."""
        ...

    def end_process(self, why: str) -> NoReturn:
        """End this process at once, whatever the model's code would rather do."""
        ...
