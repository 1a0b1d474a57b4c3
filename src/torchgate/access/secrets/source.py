"""Where a secret is read."""

from __future__ import annotations

from typing import Protocol

from torchgate.access.secrets.secret import Secret


class SecretSource(Protocol):
    """One secret's place in one kind of store."""

    @property
    def reference(self) -> str:
        """As the configuration has it."""
        ...

    @property
    def changes(self) -> bool:
        """Whether a later read can see another value."""
        ...

    @property
    def is_near(self) -> bool:
        """Whether a read costs no network, so that it may be often."""
        ...

    def read(self) -> Secret:
        """The values now; blocks, with limits of its own on every wait. Called by one thread at a time.

        Raises:
            SecretUnreadable: there is no current value, or it can't be read.
        """
        ...
