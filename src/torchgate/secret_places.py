"""What this process and its system have for reading secrets, and the secrets of a server that runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from torchgate.access.secrets.live_secrets import LiveSecrets
from torchgate.access.secrets.sources import SecretPlaces, secret_sources
from torchgate.config import Configuration, TorchgateSettings
from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.os_services import PrivateFiles, ProtectedData


def private_files() -> PrivateFiles:
    """What this operating system has for private files."""
    # Imported here: each room has its calls on its own system alone.
    if sys.platform == "win32":
        from torchgate.windows.private_file import WindowsPrivateFiles

        return WindowsPrivateFiles()
    from torchgate.posix.private_file import PosixPrivateFiles

    return PosixPrivateFiles()


def protected_data() -> ProtectedData | None:
    """What this operating system has to seal data for an account, if it has that."""
    if sys.platform == "win32":
        from torchgate.windows.protected_data import WindowsProtectedData

        return WindowsProtectedData()
    return None


def secret_places(folder: Path) -> SecretPlaces:
    """Where this process finds secrets.

    Args:
        folder: where relative paths start.
    """
    return SecretPlaces(folder, os.environ, private_files(), protected_data())


@asynccontextmanager
async def kept_secrets(
    configuration: Configuration, settings: TorchgateSettings, note: Callable[[LifecycleEvent], None]
) -> AsyncIterator[LiveSecrets]:
    """The secrets of `[secrets]`, read, and kept fresh while the block runs.

    Args:
        note: takes what the audit trail is told of changes: versions, never values.

    Raises:
        SecretsMissing: some can't be read.
    """

    def tell(name: str, versions: str) -> None:
        note(LifecycleEvent(time.time(), "update", f"secret {name}", f"The values in use are now: {versions}."))

    sources = secret_sources(settings.secrets, secret_places(configuration.file.parent))
    secrets = LiveSecrets(sources, settings.secret_refresh, on_change=tell)
    await secrets.start()
    try:
        yield secrets
    finally:
        await secrets.stop()
