"""Whether anything may be loaded into this installation at all, as a scheduler asks it."""

from __future__ import annotations

from typing import Protocol


class Installation(Protocol):
    """Found out while the server runs; nothing is loaded before."""

    @property
    def reason(self) -> str:
        """Why the server is not to be called ready, for everybody who asks; or empty."""
        ...

    def start(self) -> None:
        """Begin to find out; returns at once."""
        ...

    async def stop(self) -> None:
        """End what still runs of it. Safe to call twice."""
        ...

    async def refusal(self) -> str:
        """Why nothing may be loaded, for those who run this server; empty where it may be. Returns when it is known."""
        ...


class AnyInstallation:
    """Implements Installation where nothing was locked."""

    reason = ""

    def start(self) -> None:
        """Nothing to find out."""

    async def stop(self) -> None:
        """Nothing to end."""

    async def refusal(self) -> str:
        """None."""
        return ""
