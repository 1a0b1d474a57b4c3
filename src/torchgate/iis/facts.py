"""What the configuration of IIS must agree with: the facts of one Torchgate server."""

from __future__ import annotations

from typing import Literal

import msgspec

Door = Literal["ancm", "httpplatform", "httpplatform-1.2", "fastcgi", "arr", "proxy", "direct"]
"""As `gate.front_door` has it."""

MODULE_SECTIONS = {"ancm": "aspNetCore", "httpplatform": "httpPlatform", "httpplatform-1.2": "httpPlatform"}
"""Front door → the section of its module in web.config; FastCGI's is the server's alone."""
MODULES = {
    "ancm": "AspNetCoreModuleV2",
    "httpplatform": "httpPlatformHandler",
    "httpplatform-1.2": "httpPlatformHandler",
    "fastcgi": "FastCgiModule",
}
"""Front door → the name of its module in handlers and globalModules."""

TOKEN_VARIABLE = "HTTP_X_IIS_WINDOWSAUTHTOKEN"  # noqa: S105 - a name
"""The server variable of a client's own token header, which HttpPlatformHandler v2 lets through (iis.md 1.6)."""

POOL_GATES = 16
"""How many gates `torchgate pool` takes at once (engine.link.gate_session.LinkLimits)."""

WARM_UP_PATH = "warm-up"
"""Where Application Initialization asks, below the application."""


class ServerFacts(msgspec.Struct, frozen=True):
    """What a server's own settings say, as far as IIS must agree.

    Args:
        front_door: how requests reach it.
        takes_windows: whether callers may be Windows accounts that IIS has authenticated.
        windows_paths: below the application, `/` for all of it; where IIS must authenticate Windows accounts alone.
        takes_bearer: whether callers may come with bearer tokens or API keys, which IIS must let pass.
        certificate_paths: below the application; where a client's certificate counts, so that IIS must ask for it.
        max_body_bytes: of one request.
        max_timeout_s: the longest that one request may take.
        max_header_bytes: of one request.
        max_connections: at once.
        body_timeout_s: from the first read of a body to its end.
        drain_s: what a stopping server gives to requests that run.
        has_own_pool: whether the models run in another process than IIS starts.
        models: names, as callers write them into paths.
    """

    front_door: Door = "ancm"
    takes_windows: bool = False
    windows_paths: tuple[str, ...] = ()
    takes_bearer: bool = True
    certificate_paths: tuple[str, ...] = ()
    max_body_bytes: int = 64 << 20
    max_timeout_s: float = 300.0
    max_header_bytes: int = 64 << 10
    max_connections: int = 1024
    body_timeout_s: float = 30.0
    drain_s: float = 6.0
    has_own_pool: bool = False
    models: tuple[str, ...] = ()
