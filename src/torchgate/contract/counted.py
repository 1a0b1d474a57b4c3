"""How many there are of something, as a person reads it."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """`1 chain`, `2 chains`.

    Args:
        noun: of one; more of them have an s behind it.
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
