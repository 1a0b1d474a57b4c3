"""A secret in a file: `PATH`, beside it `PATH.previous` and `PATH.next` while the value changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from torchgate.access.secrets.secret import Secret, SecretUnreadable, SecretValue
from torchgate.contract.os_services import PrivateFiles

MAX_BYTES = 64 * 1024  # a key or a password; more is the wrong file


class FileSecret:
    """Implements SecretSource by a file that our account alone may read.

    It is opened by its name at each read, so that a replaced file and a link that points elsewhere are both seen.

    Args:
        reference: as the configuration has it.
        path: absolute.
        private_files: says who else may read it.
        opened: makes the value of the file's content; may raise SecretUnreadable.
    """

    changes = True
    is_near = True

    def __init__(
        self,
        reference: str,
        path: Path,
        private_files: PrivateFiles,
        opened: Callable[[bytes, Path], bytes] | None = None,
    ) -> None:
        self.reference = reference
        self._path = path
        self._private_files = private_files
        self._opened = opened or _without_line_end

    def read(self) -> Secret:
        """The values there now."""
        current = self._value(self._path)
        if current is None:
            raise SecretUnreadable(f"The file {self._path} does not exist. Write the value there, or correct the path.")
        return Secret(current, self._value(self._beside("previous")), self._value(self._beside("next")))

    def _beside(self, state: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{state}")

    def _value(self, path: Path) -> SecretValue | None:
        try:
            # A directory or a pipe in its place must not be opened: it could block for ever.
            if path.exists() and not path.is_file():
                raise SecretUnreadable(f"{path} is not a file. Correct the path.")
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
                changed_at = os.fstat(file.fileno()).st_mtime
            others = self._private_files.readers(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise SecretUnreadable(f"The file {path} can't be read: {reason}.") from None
        if others:
            raise SecretUnreadable(f"The file {path} is open to others: {others}. Leave it to the server's account.")
        if len(content) > MAX_BYTES:
            raise SecretUnreadable(f"The file {path} has more than {MAX_BYTES} bytes. It is the wrong file.")
        value = self._opened(content, path)
        if not value:
            raise SecretUnreadable(f"The file {path} is empty. Write the value there.")
        return SecretValue(value, _version(changed_at), changed_at)


def _without_line_end(content: bytes, _: Path) -> bytes:
    """The content; one line end at the end does not belong to a value: editors add it."""
    return content.removesuffix(b"\n").removesuffix(b"\r")


def _version(changed_at: float) -> str:
    """When the file was written: a digest of the value would help who guesses it."""
    return f"{datetime.fromtimestamp(changed_at, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
