"""What this process and its system have for reading secrets, and the secrets of a server that runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from torchgate.access.secrets.environment import behind_iis
from torchgate.access.secrets.live_secrets import LiveSecrets
from torchgate.access.secrets.reading import read_safely
from torchgate.access.secrets.reference import parse_reference
from torchgate.access.secrets.secret import SecretUnreadable
from torchgate.access.secrets.sources import SecretPlaces, missing_library, secret_source, secret_sources
from torchgate.config import Configuration, TorchgateSettings
from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.findings import Finding
from torchgate.contract.os_services import PrivateFiles, ProtectedData

BEHIND_IIS = frozenset({"ancm", "httpplatform", "httpplatform-1.2", "fastcgi"})
"""Front doors of a process that IIS starts: there `env:` is refused, whatever the environment here (DESIGN 10)."""


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


def secret_checks(folder: Path, settings: TorchgateSettings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """What is wrong with the secrets, without a network; a secret that is not here may well be on the server."""
    is_behind_iis = settings.gate.front_door in BEHIND_IIS
    places = msgspec.structs.replace(secret_places(folder), environment=environment)
    for name, text in settings.secrets.items():
        setting, source = f"secrets.{name}", secret_source(reference := parse_reference(text), places)
        if reference.source == "env" and (is_behind_iis or behind_iis(environment)):
            sentence = "behind IIS a secret can't be in the environment: others can read web.config and IIS's settings."
            yield Finding(
                "error", sentence, setting=setting, remedy="Write it into a file or a vault, and refer to that."
            )
            continue
        if reference.source == "env":
            sentence = f"a new value of {reference.place} counts after a restart alone."
            yield Finding("info", sentence, setting=setting, remedy="Where it is to change under way, use file:PATH.")
        found = read_safely(source) if source.is_near else None
        if isinstance(found, SecretUnreadable):
            remedy = "A server that can't read it does not start; `torchgate secrets status` as its account tells."
            yield Finding("warning", str(found), setting=setting, remedy=remedy)
        elif missing := missing_library(reference):
            yield Finding("warning", missing, setting=setting)


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
