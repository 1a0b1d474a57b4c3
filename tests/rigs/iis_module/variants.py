"""The three modules of IIS that start a process, as statements of fact. Source: iis.md 1 and 2."""

from __future__ import annotations

from dataclasses import dataclass

PAIRING_HEADER = "MS-ASPNETCORE-TOKEN"
STRIPPED_PREFIX = "ms-aspnetcore"

_ATTRIBUTES = frozenset(
    {
        "processPath", "arguments", "startupTimeLimit", "rapidFailsPerMinute", "requestTimeout", "stdoutLogEnabled",
        "stdoutLogFile", "processesPerApplication", "forwardWindowsAuthToken",
    }
)  # fmt: skip
_ANCM = frozenset({"hostingModel", "shutdownTimeLimit", "disableStartUpErrorPage"})


@dataclass(frozen=True)
class Variant:
    """One module.

    Args:
        name: as `gate.front_door` has it.
        module: its name in handlers.
        section: of system.webServer.
        attributes: that its schema knows; another one is 500.19.
        prefix: of the variables that it gives to its process.
        token_header: of the Windows token's handle.
        has_pairing: sends a token of its own, takes off what clients send below MS-ASPNETCORE, appends X-Forwarded-*,
            ends its process by a request, and looks for app_offline.htm. Of 1.2 nothing of that is known.
        fills_in_port: puts the port where its arguments name the variable; otherwise the process reads its environment.
        start_attempts: per request, where web.config does not say.
        startup_limit_s: where web.config does not say.
    """

    name: str
    module: str
    section: str
    attributes: frozenset[str]
    prefix: str
    token_header: str
    has_pairing: bool = True
    fills_in_port: bool = True
    start_attempts: int = 2
    startup_limit_s: int = 120


ANCM = Variant(
    "ancm", "AspNetCoreModuleV2", "aspNetCore", _ATTRIBUTES | _ANCM, "ASPNETCORE", "MS-ASPNETCORE-WINAUTHTOKEN",
    fills_in_port=False,
)  # fmt: skip
HTTP_PLATFORM = Variant(
    "httpplatform", "httpPlatformHandler", "httpPlatform", _ATTRIBUTES, "HTTP_PLATFORM", "X-IIS-WINDOWSAUTHTOKEN"
)
HTTP_PLATFORM_1_2 = Variant(
    "httpplatform-1.2", "httpPlatformHandler", "httpPlatform", _ATTRIBUTES | {"startupRetryCount"}, "HTTP_PLATFORM",
    "X-IIS-WindowsAuthToken", has_pairing=False, start_attempts=10, startup_limit_s=10,
)  # fmt: skip
VARIANTS = {one.name: one for one in (ANCM, HTTP_PLATFORM, HTTP_PLATFORM_1_2)}
