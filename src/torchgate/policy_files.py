"""The files that say what the policy is: whether they have changed, and what they say now.

What counts without a restart: `[roles]`, `[policy]`, the file of the hook, and `[[identity.api_keys]]`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from torchgate.access.policy.hook import hook_file
from torchgate.access.settings import AccessSettings
from torchgate.config import Configuration, TorchgateSettings, file_digest, read_configuration
from torchgate.start_checks import start_mistakes

Digest = tuple[bytes, ...]


class FilesWrong(Exception):
    """No server would start with these files.

    Args:
        mistakes: all of them, with file and line where there is one.
    """

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class NewSettings(msgspec.Struct, frozen=True):
    """What the files say now.

    Args:
        access: what a server may put into force without a restart, beside what it started with.
        waits_for_restart: settings that differ from those at the start, and don't count before the next.
    """

    access: AccessSettings
    waits_for_restart: tuple[str, ...]


class PolicyFiles:
    """The settings file that a server started with, and the file of its hook.

    Args:
        configuration: as it was at the start.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._started = configuration
        self._access = configuration.access_settings()

    @property
    def folder(self) -> Path:
        """Of the project."""
        return self._started.file.parent

    def digest(self, in_force: AccessSettings) -> Digest:
        """Of the content of the files; what can't be read has one, too.

        Args:
            in_force: says which file the hook is in.
        """
        hook = in_force.policy.hook
        path = None if hook is None else hook_file(hook, in_force.folder)
        return tuple(file_digest(each) for each in (self._started.file, path) if each is not None)

    def started_with(self, hook_origin: str) -> Digest:
        """Their digest as the server started with them; nothing where they have changed since.

        Args:
            hook_origin: where the hook in force came from, with the digest of its file.
        """
        now = self.digest(self._access)
        is_unchanged = now[0] == self._started.digest and all(each.hex() in hook_origin for each in now[1:])
        return now if is_unchanged else ()

    def read(self) -> NewSettings:
        """What they say now.

        Raises:
            FilesWrong: no server would start with them.
        """
        configuration = read_configuration(self._started.file, os.environ, self._started.flags)
        mistakes = tuple(str(mistake) for mistake in start_mistakes(configuration, os.environ))
        if mistakes or configuration.settings is None:
            raise FilesWrong(mistakes)
        now, old = configuration.access_settings(), self._access
        identity = old.identity.model_copy(update={"api_keys": now.identity.api_keys})
        access = msgspec.structs.replace(old, roles=now.roles, policy=now.policy, identity=identity)
        return NewSettings(access, tuple(_cold_changes(self._started.settings, configuration.settings)))


def _cold_changes(started: TorchgateSettings | None, now: TorchgateSettings) -> Iterator[str]:
    if started is None:
        return
    for name in TorchgateSettings.model_fields:
        before, after = getattr(started, name), getattr(now, name)
        if name == "identity":
            parts = (part for part in type(before).model_fields if part != "api_keys")
            yield from (f"identity.{part}" for part in parts if getattr(before, part) != getattr(after, part))
        elif name not in ("roles", "policy") and before != after:
            yield name
