"""Which policy is in force, and whether all is well with it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from torchgate.contract.principal import Principal


class PolicyStatus(msgspec.Struct, frozen=True):
    """The policy in force.

    Args:
        version: as its decisions name it.
        since: Unix seconds since when it is in force.
        reloads: how many changes came into force since the start.
        refused_reloads: how many were refused.
        troubles: sentences about what is wrong: the server shows amber. A refused change is one until a good one.
        waits_for_restart: settings whose change in the file counts only after a restart.
    """

    version: str
    since: float
    reloads: int = 0
    refused_reloads: int = 0
    troubles: tuple[str, ...] = ()
    waits_for_restart: tuple[str, ...] = ()


class KeepsPolicy(Protocol):
    """Has the policy in force, and puts a new one in its place."""

    def status(self) -> PolicyStatus:
        """How it is now."""
        ...

    async def reload(self, by: Principal) -> PolicyStatus:
        """Put in force what the files say now, if that is another policy.

        Raises:
            Conflict: it can't be; the one before stays in force.
        """
        ...
