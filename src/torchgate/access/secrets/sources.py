"""What reads each kind of secret reference."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import msgspec

from torchgate.access.secrets.aws import AwsSecret
from torchgate.access.secrets.azure import AzureSecret
from torchgate.access.secrets.environment import EnvironmentSecret
from torchgate.access.secrets.file import FileSecret
from torchgate.access.secrets.reference import SecretReference, parse_reference
from torchgate.access.secrets.secret import Secret, SecretUnreadable
from torchgate.access.secrets.source import SecretSource
from torchgate.contract.os_services import PrivateFiles, ProtectedData

_LIBRARIES = {"aws-secretsmanager": ("aws", "botocore"), "azure-keyvault": ("azure", "azure")}
"""Kind of reference → extra that brings its library, and the top name of that."""


class SecretPlaces(msgspec.Struct, frozen=True):
    """What reading needs of this process and its system.

    Args:
        folder: where relative paths start.
        environment: of this process.
        private_files: says who may read a file.
        protected_data: None where the system has none.
    """

    folder: Path
    environment: Mapping[str, str]
    private_files: PrivateFiles
    protected_data: ProtectedData | None = None


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
    if reference.source == "aws-secretsmanager":
        return AwsSecret(reference, places.environment)
    if reference.source == "azure-keyvault":
        return AzureSecret(reference, places.environment)
    if places.protected_data is None:
        return _Unsupported(text)
    opened = functools.partial(_unprotected, places.protected_data)
    return FileSecret(text, places.folder / reference.place, places.private_files, opened)


def missing_library(reference: SecretReference) -> str:
    """What must be installed to read this reference, in a sentence, or nothing."""
    extra, module = _LIBRARIES.get(reference.source, ("", ""))
    if not extra or importlib.util.find_spec(module) is not None:
        return ""
    return f"its library is not installed, and a server does not start without: pip install 'torchgate[{extra}]'."


def _unprotected(protected_data: ProtectedData, content: bytes, path: Path) -> bytes:
    try:
        return protected_data.unprotect(content)
    except OSError as error:
        raise SecretUnreadable(
            f"The file {path} can't be opened by Windows' data protection ({error.strerror}): another account or "
            "another machine protected it, or it is no such file. As the server's account: torchgate secrets protect."
        ) from None


class _Unsupported:
    """A reference that nothing on this system can read."""

    changes = False
    is_near = True

    def __init__(self, reference: str) -> None:
        self.reference = reference

    def read(self) -> Secret:
        """Nothing."""
        raise SecretUnreadable("Windows' data protection exists on Windows alone. Use file:PATH or a vault here.")
