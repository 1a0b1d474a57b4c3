"""Where the keys of an issuer come from: its discovery document and key set, or a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

import msgspec

from torchgate.access.identity.download import MAX_DOCUMENT_BYTES, Downloader
from torchgate.access.identity.entra_issuer import read_entra_issuer
from torchgate.access.identity.issuer_url import origin, url_mistake
from torchgate.access.identity.published_keys import KeysUnreadable
from torchgate.access.oidc_settings import OidcSettings
from torchgate.contract.bounded_files import read_bounded

_JSON = ("application/json",)
_KEY_SET = ("application/json", "application/jwk-set+json")
_WELL_KNOWN = "/.well-known/openid-configuration"  # OpenID Connect Discovery 1.0 section 4


class KeySource(Protocol):
    """Gives an issuer's key set as published now."""

    async def fetch(self) -> bytes:
        """The document.

        Raises:
            KeysUnreadable: it can't be had.
        """
        ...


class IssuerKeySource:
    """The issuer itself: discovery, then the key set that it points to.

    Discovery must name the very issuer that is configured, and a key set on the issuer's own origin;
    a key set elsewhere must be named in the settings (`jwks_uri`), so that no document can send us anywhere.
    """

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._downloader = Downloader(settings.ca_file)

    @property
    def skew_s(self) -> float | None:
        """Seconds that the issuer's clock was ahead of ours when it last answered; None where it has not said."""
        return self._downloader.skew_s

    async def fetch(self) -> bytes:
        """The key set. Discovery is read each time: where the keys are may change, and it is one small document."""
        jwks_uri = self._settings.jwks_uri or await self._discovered()
        return await self._downloader.fetch(jwks_uri, _KEY_SET)

    async def _discovered(self) -> str:
        url = _metadata_url(self._settings)
        document = await self._downloader.fetch(url, _JSON)
        try:
            found = msgspec.json.decode(document)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise KeysUnreadable("the discovery document is not JSON") from error
        if not isinstance(found, dict) or found.get("issuer") != self._settings.issuer:
            raise KeysUnreadable("the discovery document names another issuer than the settings")
        jwks_uri = found.get("jwks_uri")
        if not isinstance(jwks_uri, str) or url_mistake(jwks_uri, self._settings.allow_insecure_loopback, True):
            raise KeysUnreadable("the discovery document has no usable jwks_uri")
        if origin(jwks_uri) != origin(url):
            raise KeysUnreadable("the discovery document has its keys on another host; name it in the setting jwks_uri")
        return jwks_uri


def _metadata_url(settings: OidcSettings) -> str:
    entra = read_entra_issuer(settings.issuer) if settings.profile == "entra" else None
    return settings.issuer.rstrip("/") + _WELL_KNOWN if entra is None else entra.metadata_url


class FileKeySource:
    """A file with the key set, for issuers that this machine can't reach."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def fetch(self) -> bytes:
        """The file as it is now; it is read in a thread, because a disk may be slow."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes:
        try:
            return read_bounded(self._path, MAX_DOCUMENT_BYTES)
        except OSError as error:
            raise KeysUnreadable(f"the file {self._path} can't be read: {error.strerror}") from error


def key_source(settings: OidcSettings, folder: Path) -> KeySource:
    """Where this issuer's keys come from.

    Args:
        folder: where a relative `jwks_file` or `ca_file` starts.
    """
    if settings.jwks_file is not None:
        return FileKeySource(folder / settings.jwks_file)
    if settings.ca_file is not None:
        return IssuerKeySource(settings.model_copy(update={"ca_file": folder / settings.ca_file}))
    return IssuerKeySource(settings)
