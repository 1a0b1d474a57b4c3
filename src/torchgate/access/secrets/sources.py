"""What reads each kind of secret reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from torchgate.access.secrets.environment import EnvironmentSecret
from torchgate.access.secrets.file import FileSecret
from torchgate.access.secrets.reference import SecretReference, parse_reference
from torchgate.access.secrets.secret import Secret, SecretUnreadable
from torchgate.access.secrets.source import SecretSource
from torchgate.contract.os_services import PrivateFiles


class SecretPlaces(msgspec.Struct, frozen=True):
    """What reading needs of this process and its system.

    Args:
        folder: where relative paths start.
        environment: of this process.
        private_files: says who may read a file.
    """

    folder: Path
    environment: Mapping[str, str]
    private_files: PrivateFiles


def secret_sources(references: Mapping[str, str], places: SecretPlaces) -> dict[str, SecretSource]:
    """What reads each of `[secrets]`; nothing is read yet.

    Args:
        references: name → reference, as the configuration has them.
    """
    return {name: secret_source(parse_reference(text), places) for name, text in references.items()}


def secret_source(reference: SecretReference, places: SecretPlaces) -> SecretSource:
    """What reads this reference."""
    text = str(reference)
    if reference.source == "env":
        return EnvironmentSecret(reference.place, places.environment)
    if reference.source == "file":
        return FileSecret(text, places.folder / reference.place, places.private_files)
    return _Unsupported(text)


class _Unsupported:
    """A reference that nothing here can read."""

    changes = False
    is_near = True

    def __init__(self, reference: str) -> None:
        self.reference = reference

    def read(self) -> Secret:
        """Nothing."""
        raise SecretUnreadable(f"{self.reference.partition(':')[0]} can't be read on this system.")
