"""Where audit events go; awaited before an answer leaves."""

from __future__ import annotations

from typing import Protocol

from torchgate.contract.audit_event import AuditEvent


class AuditSink(Protocol):
    """Takes events at the configured durability."""

    async def write(self, event: AuditEvent) -> None:
        """Return once the event is as durable as its level asks.

        Raises:
            AuditUnavailable: it is not; the answer may not leave.
        """
        ...

    @property
    def is_available(self) -> bool:
        """Whether the next event can be expected to be written; False makes the server unready."""
        ...
