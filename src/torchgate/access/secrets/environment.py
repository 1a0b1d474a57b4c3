"""A secret in the environment: `NAME`, beside it `NAME_PREVIOUS` and `NAME_NEXT` while the value changes."""

from __future__ import annotations

from collections.abc import Mapping

from torchgate.access.secrets.secret import Secret, SecretUnreadable


def read_environment(name: str, environment: Mapping[str, str]) -> Secret:
    """The values there.

    Raises:
        SecretUnreadable: the current value is missing or empty.
    """
    current = environment.get(name)
    if not current:
        raise SecretUnreadable(f"The environment variable {name} is not set or empty. Set it to the secret's value.")
    return Secret(current.encode(), _beside(name, "PREVIOUS", environment), _beside(name, "NEXT", environment))


def _beside(name: str, state: str, environment: Mapping[str, str]) -> bytes | None:
    value = environment.get(f"{name}_{state}")
    return value.encode() if value else None
