"""A secret: the value in use, the one before it and the one after it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from typing import NoReturn

UNUSABLE = "unusable"


class SecretUnreadable(Exception):
    """A secret reference leads to no usable value; the sentence names the place and the remedy, never the value.

    Args:
        sentence: for people.
        code: of the store's answer, or UNUSABLE for a value that is there and none that counts; or empty.
    """

    def __init__(self, sentence: str, code: str = "") -> None:
        super().__init__(sentence)
        self.code = code


class SecretValue:
    """One value of a secret. It shows itself in no repr, no pickle and no encoder.

    Args:
        value: the bytes.
        version: what its store calls it; goes into logs, so never anything made from the value.
        made_at: Unix seconds since when it is there, or None where the store does not say.
        expires_at: Unix seconds from which nothing accepts it, or None.
    """

    __slots__ = ("digest", "expires_at", "made_at", "value", "version")

    def __init__(
        self, value: bytes, version: str = "", made_at: float | None = None, expires_at: float | None = None
    ) -> None:
        self.value = value
        self.version = version
        self.made_at = made_at
        self.expires_at = expires_at
        self.digest = hashlib.sha256(value).digest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretValue):
            return NotImplemented
        is_same = hmac.compare_digest(self.digest, other.digest)
        return is_same and (self.version, self.expires_at) == (other.version, other.expires_at)

    def __hash__(self) -> int:
        return hash(self.version)

    def __repr__(self) -> str:
        return f"SecretValue(version {self.version!r}: not shown)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret's value is not copied out of its process")


class Secret:
    """Values of one secret by state, as they were found at one moment.

    Args:
        current: what is signed with and sent out.
        previous, next: also accepted when verifying, so that both sides can change at their own time.
        remarks: sentences about values beside the current one that could not be used.
    """

    __slots__ = ("current", "next", "previous", "remarks")

    def __init__(
        self,
        current: SecretValue,
        previous: SecretValue | None = None,
        next: SecretValue | None = None,  # noqa: A002 - the name of the state
        remarks: tuple[str, ...] = (),
    ) -> None:
        self.current = current
        self.previous = previous
        self.next = next
        self.remarks = remarks

    def by_state(self) -> Iterator[tuple[str, SecretValue]]:
        """State and value, current first."""
        yield "current", self.current
        if self.previous is not None:
            yield "previous", self.previous
        if self.next is not None:
            yield "next", self.next

    def accepted(self, now: float) -> tuple[SecretValue, ...]:
        """All values that verification accepts, current first.

        Args:
            now: Unix seconds; what expired before does not count.
        """
        return tuple(one for _, one in self.by_state() if one.expires_at is None or now < one.expires_at)

    def versions(self) -> str:
        """Which version is in which state, in words."""
        return ", ".join(f"{state} {one.version or '(no version)'}" for state, one in self.by_state())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and list(self.by_state()) == list(other.by_state())

    def __hash__(self) -> int:
        return hash(self.versions())

    def __repr__(self) -> str:
        return f"Secret({', '.join(state for state, _ in self.by_state())}: not shown)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret's value is not copied out of its process")
