"""A secret: the value in use, the one before it and the one after it."""

from __future__ import annotations

import msgspec


class SecretUnreadable(Exception):
    """A secret reference leads to no usable value; the sentence names the place, never the value."""


class Secret(msgspec.Struct, frozen=True):
    """Values of one secret by state; repr shows none of them.

    Args:
        current: what is signed with and sent out.
        previous, next: also accepted when verifying, so that both sides can change at their own time.
    """

    current: bytes
    previous: bytes | None = None
    next: bytes | None = None

    @property
    def accepted(self) -> tuple[bytes, ...]:
        """All values that verification accepts, current first."""
        return tuple(value for value in (self.current, self.previous, self.next) if value is not None)

    def __repr__(self) -> str:
        states = [state for state in ("current", "previous", "next") if getattr(self, state) is not None]
        return f"Secret({', '.join(states)}: not shown)"
