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
    prefix: MarkedPath | None = None
    """A path below which the whole server stands a second time, e.g. `/win`: it is marked as `paths` are, and `/win/v2`
    is answered as `/v2`. So IIS can ask people for Windows there, and let tokens pass elsewhere."""
    allow_own_account: bool = False
    """Whether callers count who have the account that this server runs as: two sites with one service account."""
    allow_service_accounts: bool = False
    """Whether SYSTEM, LocalService and NetworkService of this machine count."""
    impersonation: bool = False
    """Whether models that say `impersonate = true` are served, whose code then acts with the rights of whoever calls
    them. While one is served, the gate keeps a duplicate of each caller's token to the end of its request."""

    @property
    def marked_paths(self) -> tuple[str, ...]:
        """Every path where a Windows identity counts, the prefix included."""
        return self.paths if self.prefix is None else (*self.paths, self.prefix)

    @model_validator(mode="after")
    def _consistent(self) -> WindowsSettings:
        if self.marked_paths and not self.enabled:
            raise ValueError("paths are given, but enabled is not true; say enabled = true, or take the paths out")
        if self.prefix is not None and not self.prefix.strip("/"):
            raise ValueError('prefix is "/", and nothing would be left elsewhere; say paths = ["/"] instead')
        if self.impersonation and not self.enabled:
            raise ValueError("impersonation is true, but enabled is not; say enabled = true, or take it out")
        return self
