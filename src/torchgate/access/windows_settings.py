"""Whether Windows identities count, and whose."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints, model_validator

from torchgate.contract.settings_file import Settings

MarkedPath = Annotated[str, StringConstraints(pattern=r"^/[^\s?#%\\]{0,500}$")]


class WindowsSettings(Settings):
    """Windows identities (`[identity.windows]`): IIS's tokens, and users whom IIS names to FastCGI."""

    enabled: bool = False
    """Whether they count. The front door must carry them: `ancm`, `httpplatform`, or `fastcgi` for names alone."""
    paths: tuple[MarkedPath, ...] = ()
    """Paths, with all below them, where IIS lets nobody pass but by Windows authentication (no anonymous, no Basic),
    e.g. `/v2`. Only there a token counts."""
    allow_own_account: bool = False
    """Whether callers count who have the account that this server runs as: two sites with one service account."""
    allow_service_accounts: bool = False
    """Whether SYSTEM, LocalService and NetworkService of this machine count."""

    @model_validator(mode="after")
    def _consistent(self) -> WindowsSettings:
        if self.paths and not self.enabled:
            raise ValueError("paths are given, but enabled is not true; say enabled = true, or take the paths out")
        return self
