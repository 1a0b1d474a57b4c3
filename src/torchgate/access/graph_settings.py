"""What can be set about looking up the groups of people who are in too many for their token."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from torchgate.access.identity.issuer_url import url_mistake
from torchgate.access.names import RoleName
from torchgate.contract.settings_file import Settings


class GraphSettings(Settings):
    """Microsoft Graph (`[identity.oidc.graph]`): asked for groups where a token of Entra leaves them out.

    The registered application needs the application permission GroupMember.Read.All.
    """

    client_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F-]{36}$")]
    """Of the registered application that asks."""
    client_secret: RoleName
    """The name of its secret in `[secrets]`."""
    endpoint: Annotated[str, StringConstraints(max_length=256)] = "https://graph.microsoft.com"
    """Where Graph is; national clouds have others."""
    timeout_s: Annotated[float, Field(ge=0.1, le=30, strict=False)] = 3.0
    """Longest that the first request of a token waits for groups; then they are unknown."""
    remember_s: Annotated[float, Field(ge=10, le=86_400, strict=False)] = 300.0
    """Seconds for which groups are remembered: how long somebody keeps a role whose group they have left."""
    retry_s: Annotated[float, Field(ge=1, le=3600, strict=False)] = 30.0
    """Seconds for which a failed look-up is remembered."""
    max_remembered: Annotated[int, Field(ge=16, le=1_000_000)] = 10_000
    """Callers whose groups are remembered; the oldest goes first."""

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if mistake := url_mistake(url, allow_insecure_loopback=False):
            raise ValueError(mistake)
        return url.rstrip("/")
