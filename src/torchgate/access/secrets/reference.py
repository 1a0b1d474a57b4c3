"""Where a secret is to be found; configuration holds only this, never the value."""

from __future__ import annotations

import re

import msgspec

from torchgate.contract.settings_file import nearest

SOURCES = {
    "file": "file:PATH",
    "aws-secretsmanager": "aws-secretsmanager:ID",
    "azure-keyvault": "azure-keyvault:VAULT/NAME",
    "dpapi": "dpapi:PATH",
    "env": "env:NAME",
}
"""Kinds of places, and how a reference to one is written."""
_STORES = ("aws-secretsmanager", "azure-keyvault")
# Names as the stores allow them (AWS API reference, CreateSecret; Azure "Vault-name and object-name"). An AWS name may
# hold "@", so that the last "@" begins the stage; a vault outside the public cloud is written with its whole host.
_AWS = re.compile(r"[A-Za-z0-9/_+=.@:-]{1,2048}")
_AWS_STAGE = re.compile(r"[\x21-\x22\x24-\x3f\x41-\x7e]{1,256}")
_AZURE = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)/[A-Za-z0-9-]{1,127}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SecretReference(msgspec.Struct, frozen=True):
    """Kind and place of a secret.

    Args:
        source: one of SOURCES.
        place: path, variable, AWS name or ARN, or `VAULT/NAME`.
        key: of one text in a value that is a JSON object; empty: the whole value.
        stage: AWS's staging label of the current value; empty: AWSCURRENT, with its neighbours.
    """

    source: str
    place: str
    key: str = ""
    stage: str = ""

    def __str__(self) -> str:
        key, stage = f"#{self.key}" if self.key else "", f"@{self.stage}" if self.stage else ""
        return f"{self.source}:{self.place}{key}{stage}"


def parse_reference(text: str) -> SecretReference:
    """The reference in a setting.

    Raises:
        ValueError: it is not one; the value is not repeated, because somebody may have written the secret itself.
    """
    source, colon, place = text.partition(":")
    if not colon:
        raise ValueError("this is not a secret reference; write file:PATH or another of its kind, never the secret")
    if source not in SOURCES:
        # Not the nearest name alone: a secret may hold a colon, too.
        raise ValueError(f"this secret reference has an unknown source. {nearest(source, list(SOURCES))}")
    if not place.strip() or "\x00" in place:
        raise ValueError(f"this secret reference has nothing usable after {source!r}; write {SOURCES[source]}")
    if source not in _STORES:
        if source == "env" and not _VARIABLE.fullmatch(place):
            raise ValueError("this secret reference names no environment variable; write env:NAME")
        return SecretReference(source, place)
    return _parse_stored(source, place)


def _parse_stored(source: str, place: str) -> SecretReference:
    stage = ""
    if source == "aws-secretsmanager" and "@" in place:
        place, _, stage = place.rpartition("@")
        if not _AWS_STAGE.fullmatch(stage):
            raise ValueError("this secret reference has no staging label after '@'; write @AWSCURRENT, or leave it out")
    place, hash_sign, key = place.partition("#")
    if hash_sign and not key:
        raise ValueError("this secret reference has nothing after '#'; name a key of the JSON object, or leave it out")
    pattern = _AWS if source == "aws-secretsmanager" else _AZURE
    if not pattern.fullmatch(place):
        raise ValueError(f"this secret reference names no secret there; write {SOURCES[source]}")
    return SecretReference(source, place, key, stage)
