"""What can be said about this server to clients that look for its identity providers (RFC 9728)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from torchgate.access.identity.issuer_url import url_mistake
from torchgate.contract.settings_file import Settings

Scope = Annotated[str, StringConstraints(pattern=r"^[!#-\[\]-~]{1,256}$")]  # RFC 6749 section 3.3
Url = Annotated[str, StringConstraints(max_length=512)]


class ResourceSettings(Settings):
    """This server as an OAuth resource (`[identity.resource]`): what its metadata says, in public (RFC 9728)."""

    url: Url
    """Its public address, as clients know it, such as https://models.example.com; never taken from a request."""
    name: Annotated[str, StringConstraints(max_length=128)] = ""
    """What people may be shown."""
    scopes: tuple[Scope, ...] = ()
    """Scopes that a client may ask its identity provider for."""
    authorization_servers: Annotated[tuple[Url, ...], Field(max_length=32)] = ()
    """Issuers that clients may use; empty means those of `[[identity.oidc]]`."""
    documentation: Url | None = None
    """A page for developers of clients."""

    @field_validator("url", "documentation")
    @classmethod
    def _one_url(cls, url: str | None) -> str | None:
        if url is not None and (mistake := url_mistake(url, allow_insecure_loopback=True)):
            raise ValueError(mistake)
        if url is not None and '"' in url:
            raise ValueError(f"{url!r} is not a URL: it has a quotation mark")
        return url

    @field_validator("authorization_servers")
    @classmethod
    def _urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            cls._one_url(url)
        return urls
