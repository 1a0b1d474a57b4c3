"""TLS of our own socket, put together from gate, identity and secrets, and kept as its files are."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable

from torchgate.access.file_watch import FileWatch
from torchgate.access.secrets.live_secrets import LiveSecrets
from torchgate.config import TorchgateSettings
from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.os_services import PrivateFiles
from torchgate.gate.tls import files_of, replaceable, tls_context
from torchgate.gate.tls_key import TlsKey, TlsUnusable, key_from_file, key_from_secret
from torchgate.gate.tls_settings import TlsSettings

_log = logging.getLogger("torchgate.app")


class OwnTls:
    """The listener's context, replaced when one of its files or secrets changes.

    Args:
        settings: its paths are absolute.
        tls: of the same settings.
        secrets: those of `[secrets]`, started.
        private_files: says who may read the key, and writes what only we may read.
        on_lifecycle: is told of each change and each failure.

    Raises:
        TlsUnusable: the files can't be used at the start.
    """

    def __init__(
        self,
        settings: TorchgateSettings,
        tls: TlsSettings,
        secrets: LiveSecrets,
        private_files: PrivateFiles,
        on_lifecycle: Callable[[LifecycleEvent], None],
    ) -> None:
        self._settings = settings
        self._tls = tls
        self._secrets = secrets
        self._private_files = private_files
        _refuse_nobodys(settings, tls)
        paths = [*files_of(tls), *(one.ca_file for one in settings.identity.certificates)]
        self._watch = FileWatch(
            "TLS certificates", paths, self._read, interval_s=tls.refresh_s, on_lifecycle=on_lifecycle
        )
        self.context = replaceable(self._made())
        for name in filter(None, (tls.key_password, tls.key_secret)):
            secrets.get(name).on_change(self._reload)

    async def start(self) -> None:
        """Begin to look at the files."""
        await self._watch.start()

    async def stop(self) -> None:
        """Look no more."""
        await self._watch.stop()

    def _read(self) -> Callable[[], None]:
        context = self._made()
        return lambda: self._put_in_force(context)

    def _put_in_force(self, context: ssl.SSLContext) -> None:
        self.context.in_force = context

    def _reload(self) -> None:
        """After a change of a secret: where it does not fit the certificate yet, the change of that comes to help."""
        try:
            self._put_in_force(self._made())
        except TlsUnusable as error:
            _log.warning("%s What was in force before stays in force.", error)

    def _made(self) -> ssl.SSLContext:
        authorities = [one.ca_file for one in self._settings.identity.certificates]
        return tls_context(self._tls, self._key(), authorities)

    def _key(self) -> TlsKey:
        tls = self._tls
        try:
            password = None if tls.key_password is None else self._secrets.get(tls.key_password).current()
            if tls.key_secret is not None:
                value = self._secrets.get(tls.key_secret).current()
                return key_from_secret(
                    tls.key_secret, value, password, self._settings.state.folder, self._private_files
                )
        except TlsUnusable:
            raise
        except ValueError as error:
            raise TlsUnusable(f"[gate.tls]: {error}") from None
        if tls.key_file is None:
            raise TlsUnusable("[gate.tls] has neither key_file nor key_secret.")
        return key_from_file(tls.key_file, password, self._private_files)


def _refuse_nobodys(settings: TorchgateSettings, tls: TlsSettings) -> None:
    if tls.client_certificates != "none" and not settings.identity.certificates:
        raise TlsUnusable(
            f'gate.tls.client_certificates is "{tls.client_certificates}", and there is no [[identity.certificates]] '
            "whose certificates would count. Name an authority."
        )
