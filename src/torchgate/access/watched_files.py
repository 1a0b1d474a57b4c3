"""Which files of access count while the server runs, and what takes what they hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torchgate.access.file_watch import FileWatch
from torchgate.access.identity.api_key import ApiKeys
from torchgate.access.identity.certificate import ClientCertificates
from torchgate.access.identity.certificate_authority import files_of, load_authority
from torchgate.access.identity.key_file import counting_keys, read_key_file
from torchgate.access.settings import AccessSettings
from torchgate.contract.audit_event import LifecycleEvent


class WatchedFiles:
    """Makes the watches; each file is read once here, and a bad one keeps the server from starting.

    Args:
        settings: where the files are.
        on_lifecycle: as FileWatch has it.
    """

    def __init__(self, settings: AccessSettings, on_lifecycle: Callable[[LifecycleEvent], None]) -> None:
        self._settings = settings
        self._on_lifecycle = on_lifecycle
        self.watches: list[FileWatch] = []

    def keep_keys(self, keys: ApiKeys) -> None:
        """Let the keys of torchgate.toml and of the file of keys count, now and when the file changes.

        Raises:
            ValueError: the file can't be used.
        """
        identity = self._settings.identity
        path = self._settings.folder / identity.api_keys_file

        def read() -> Callable[[], None]:
            counting = counting_keys(identity.api_keys, read_key_file(path))
            return lambda: keys.replace(counting)

        self._watch("API keys", [path], read)

    def keep_authorities(self, certificates: ClientCertificates) -> None:
        """Let the configured authorities count, now and when one of their files changes.

        Raises:
            ValueError: a file can't be used.
        """
        folder, configured = self._settings.folder, self._settings.identity.certificates
        paths = [folder / path for one in configured for path in files_of(one)]

        def read() -> Callable[[], None]:
            authorities = [load_authority(one, folder) for one in configured]
            return lambda: certificates.replace(authorities)

        self._watch("authorities of client certificates", paths, read)

    def _watch(self, subject: str, paths: list[Path], read: Callable[[], Callable[[], None]]) -> None:
        interval_s = self._settings.identity.refresh_s
        watch = FileWatch(subject, paths, read, interval_s=interval_s, on_lifecycle=self._on_lifecycle)
        read()()  # after the watch has seen the file, so that no change falls between
        self.watches.append(watch)
