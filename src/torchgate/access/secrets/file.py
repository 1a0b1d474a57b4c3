"""A secret in a file: `PATH`, beside it `PATH.previous` and `PATH.next` while the value changes."""

from __future__ import annotations

from pathlib import Path

from torchgate.access.secrets.secret import Secret, SecretUnreadable

_MAX_BYTES = 64 * 1024  # a key or a password; more is the wrong file


def read_file(path: Path) -> Secret:
    """The values there now; one line end at the end does not belong to a value.

    Raises:
        SecretUnreadable: the current value is missing, empty, too long or unreadable; or another is unreadable.
    """
    current = _value(path)
    if current is None:
        raise SecretUnreadable(f"The secret file {path} does not exist. Write the value there, or correct the path.")
    return Secret(current, _value(path.with_name(f"{path.name}.previous")), _value(path.with_name(f"{path.name}.next")))


def _value(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            value = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretUnreadable(f"The secret file {path} can't be read: {error.strerror}.") from error
    if len(value) > _MAX_BYTES:
        raise SecretUnreadable(f"The secret file {path} has more than {_MAX_BYTES} bytes. It is the wrong file.")
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise SecretUnreadable(f"The secret file {path} is empty. Write the value there.")
    return value
