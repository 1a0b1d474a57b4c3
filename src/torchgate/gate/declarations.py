"""The front doors, each as a statement of facts: the table of DESIGN 4.1."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from torchgate.access.identity.presented import Kind
from torchgate.gate.credentials import CONSUMED_SCHEMES

FrontDoorName = Literal["direct", "ancm", "httpplatform", "httpplatform-1.2", "fastcgi", "proxy", "arr"]
ProofKind = Literal["own socket", "pairing token", "inherited pipe", "secret, socket or certificate", "none"]


class FrontDoorDeclaration(msgspec.Struct, frozen=True):
    """One way in, as a statement of facts (DESIGN 4.1).

    Args:
        name: as `gate.front_door` has it.
        proof: what proves that the front door sent the request.
        carries: kinds of credentials that may come this way.
        strips: schemes of Authorization that it has examined itself and leaves behind, where it names a user.
        token_header: of a Windows token's handle, in lower case; empty where there is none.
        token_is_its_own: it takes the client's own copy of that header off, so that a handle is always its own.
        port_variable, token_variable, path_variable, authentication_variable: of the environment, by which IIS's
            modules say where to listen, what proves them, where the application is, and how IIS authenticates.
    """

    name: FrontDoorName
    proof: ProofKind
    carries: tuple[Kind, ...]
    strips: frozenset[bytes] = frozenset()
    token_header: bytes = b""
    token_is_its_own: bool = False
    port_variable: str = ""
    token_variable: str = ""
    path_variable: str = ""
    authentication_variable: str = ""

    @property
    def is_proven(self) -> bool:
        """Whether what it adds to a request can be believed."""
        return self.proof not in {"own socket", "none"}


FRONT_DOORS: Mapping[str, FrontDoorDeclaration] = MappingProxyType(
    {
        door.name: door
        for door in (
            FrontDoorDeclaration("direct", "own socket", ("bearer", "api_key", "certificate", "negotiate")),
            FrontDoorDeclaration(
                "ancm",
                "pairing token",
                ("bearer", "api_key", "windows", "certificate"),
                strips=CONSUMED_SCHEMES,
                token_header=b"ms-aspnetcore-winauthtoken",
                token_is_its_own=True,
                port_variable="ASPNETCORE_PORT",
                token_variable="ASPNETCORE_TOKEN",  # noqa: S106 - the name of a variable
                path_variable="ASPNETCORE_APPL_PATH",
                authentication_variable="ASPNETCORE_IIS_HTTPAUTH",
            ),
            FrontDoorDeclaration(
                "httpplatform",
                "pairing token",
                ("bearer", "api_key", "windows"),
                strips=CONSUMED_SCHEMES,
                token_header=b"x-iis-windowsauthtoken",
                port_variable="HTTP_PLATFORM_PORT",
                token_variable="HTTP_PLATFORM_TOKEN",  # noqa: S106 - the name of a variable
                path_variable="HTTP_PLATFORM_APPL_PATH",
                authentication_variable="HTTP_PLATFORM_IIS_HTTPAUTH",
            ),
            FrontDoorDeclaration(
                "httpplatform-1.2",
                "none",
                ("bearer", "api_key"),
                port_variable="HTTP_PLATFORM_PORT",
                path_variable="HTTP_PLATFORM_APPL_PATH",
            ),
            FrontDoorDeclaration(
                "fastcgi", "inherited pipe", ("bearer", "api_key", "asserted"), strips=CONSUMED_SCHEMES
            ),
            FrontDoorDeclaration(
                "proxy",
                "secret, socket or certificate",
                ("bearer", "api_key", "asserted", "certificate"),
                strips=CONSUMED_SCHEMES,
            ),
            FrontDoorDeclaration("arr", "none", ("bearer", "api_key")),
        )
    }
)
