"""Where a secret is to be found: `file:PATH` or `env:NAME`; configuration holds only this, never the value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from torchgate.access.secrets.environment import read_environment
from torchgate.access.secrets.file import read_file
from torchgate.access.secrets.secret import Secret
from torchgate.contract.settings_file import nearest

SOURCES = ("file", "env")


class SecretReference(msgspec.Struct, frozen=True):
    """Source and place of a secret."""

    source: str
    place: str


def parse_reference(text: str) -> SecretReference:
    """The reference in a setting.

    Raises:
        ValueError: it is not one; the value is not repeated, because somebody may have written the secret itself.
    """
    source, colon, place = text.partition(":")
    if not colon:
        raise ValueError("this is not a secret reference; write file:PATH or env:NAME, never the secret itself")
    if source not in SOURCES:
        raise ValueError(f"this secret reference has an unknown source. {nearest(source, SOURCES)}")
    if not place.strip():
        raise ValueError(f"this secret reference has nothing after {source!r}; say which {source}")
    return SecretReference(source, place)


def read_secret(reference: SecretReference, *, folder: Path, environment: Mapping[str, str]) -> Secret:
    """The values behind a reference, as they are now.

    Args:
        folder: where relative paths start.
        environment: of this process.

    Raises:
        SecretUnreadable: there is no current value, or it can't be read.
    """
    if reference.source == "env":
        return read_environment(reference.place, environment)
    return read_file(folder / reference.place)
