"""How much memory loaded versions may take together: counted, never measured, so that a refusal comes early."""

from __future__ import annotations

from collections.abc import Mapping

from torchgate.contract.decision import ModelRef


class MemoryBudget:
    """What is loaded, by activation.

    Args:
        allowed_bytes: of all together; 0: no limit.
    """

    def __init__(self, allowed_bytes: int) -> None:
        self._allowed_bytes = allowed_bytes
        self._held: dict[int, tuple[ModelRef, int]] = {}

    @property
    def held_bytes(self) -> int:
        """Of all that is loaded."""
        return sum(length for _, length in self._held.values())

    def refusal(self, needed: int, freed: int = 0) -> str:
        """Why so much can't be loaded beside what is, with the numbers; empty where it can.

        Args:
            needed: bytes.
            freed: bytes that are given back before.
        """
        if not self._allowed_bytes or self.held_bytes - freed + needed <= self._allowed_bytes:
            return ""
        by_ref: dict[str, int] = {}
        for ref, length in self._held.values():
            by_ref[str(ref)] = by_ref.get(str(ref), 0) + length
        return (
            f"it needs {shown_bytes(needed)}, and of {shown_bytes(self._allowed_bytes)} (engine.memory_bytes) "
            f"{shown_bytes(self.held_bytes)} are taken{_list(by_ref)}"
        )

    def take(self, activation: int, ref: ModelRef, length: int) -> None:
        """Count a loading from now on."""
        self._held[activation] = (ref, length)

    def holds(self, activation: int) -> bool:
        """Whether it is counted."""
        return activation in self._held

    def give_back(self, activation: int) -> None:
        """It is gone. Safe to call twice."""
        self._held.pop(activation, None)


def shown_bytes(length: int) -> str:
    """For people: three digits and a unit."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if length >= 1 << power:
            return f"{length / (1 << power):.3g} {unit}"
    return f"{length} bytes"


def _list(by_ref: Mapping[str, int]) -> str:
    if not by_ref:
        return ""
    greatest = sorted(by_ref.items(), key=lambda one: -one[1])
    shown = ", ".join(f"{ref} {shown_bytes(length)}" for ref, length in greatest[:5])
    return f": {shown}{' …' if len(greatest) > 5 else ''}"
