"""The settings of `[gate]`."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from torchgate.contract.settings_file import Settings
from torchgate.gate.declarations import FRONT_DOORS, FrontDoorName
from torchgate.gate.door_settings import ProxySettings
from torchgate.gate.tls_settings import TlsSettings

Seconds = Annotated[float, pydantic.Field(gt=0, le=86400, strict=False)]
MIB = 1 << 20
UNIX_PREFIX = "unix:"


class GateSettings(Settings):
    """How requests reach this server, and how much of anything one request may bring."""

    bind: str = "127.0.0.1:8080"
    """Address and port to listen on, `address:port` or `[IPv6 address]:port`; port 0 takes a free one. Not on Windows,
    also `unix:PATH`, a socket in the file system. IIS's port wins where the front door is one of IIS's modules."""

    socket_mode: Literal["0600", "0660"] = "0600"
    """Who may connect to a unix socket: our own account, or its group, too (that of a folder with the setgid bit)."""

    front_door: FrontDoorName = "direct"
    """How a request reaches us: `direct` is our own socket, `proxy` nginx or Apache; behind IIS `ancm` (ASP.NET Core
    Module V2), `httpplatform` (HttpPlatformHandler v2), `httpplatform-1.2`, `fastcgi` (wfastcgi) or `arr`."""

    proxy: ProxySettings = ProxySettings()

    tls: TlsSettings | None = None
    """TLS of our own socket; absent: plain HTTP, for a front door on this machine."""

    hosts: tuple[Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9.:\[\]-]{1,253}$")], ...] = ()
    """Names that may stand in a request's Host header, without port; those of loopback are always allowed."""

    max_body_bytes: Annotated[int, pydantic.Field(ge=1024, le=2**31 - 1)] = 64 * MIB
    """Bytes of one request's body as sent; more is 413."""

    max_json_bytes: Annotated[int, pydantic.Field(ge=1024, le=2**31 - 1)] = 32 * MIB
    """Bytes of the JSON part of one inference request; more is 413. JSON is decoded in one go, in which nobody else is
    served, and numbers take up to 16 times their text in memory: large tensors belong into binary tensor data."""

    max_inflated_bytes: Annotated[int, pydantic.Field(ge=1024, le=2**31 - 1)] = 64 * MIB
    """Bytes of one request's body after gzip or deflate are undone; more is 413."""

    max_header_bytes: Annotated[int, pydantic.Field(ge=4096, le=MIB)] = 64 * 1024
    """Bytes of one request's line and headers; more is 431. Tokens with many groups need room."""

    max_connections: Annotated[int, pydantic.Field(ge=1, le=65535)] = 1024
    """Connections open at once. For one more, the one that waits longest for its client is cut; where all have
    requests, it is answered 503 and closed. Behind IIS none is cut."""

    backlog: Annotated[int, pydantic.Field(ge=1, le=65535)] = 512
    """Connections that the operating system holds for us before we accept them."""

    keep_alive_s: Seconds = 75.0
    """How long an idle connection stays open; longer than a front door keeps its own end idle."""

    head_timeout_s: Seconds = 10.0
    """From the first byte of a request, or from the connection, until its headers are complete."""

    body_timeout_s: Seconds = 30.0
    """From the first read of a body to its end; slower is 408."""

    refusal_drain_bytes: Annotated[int, pydantic.Field(ge=0, le=64 * MIB)] = MIB
    """How much of the body of a refused request is read and thrown away, so that the refusal reaches the client."""

    default_timeout_s: Seconds = 30.0
    """Deadline of a request that names none."""

    max_timeout_s: Seconds = 300.0
    """Longest deadline that a request may name; a longer one is cut to this."""

    compress_from_bytes: Annotated[int, pydantic.Field(ge=0)] = 1024
    """Answers of at least so many bytes are compressed for clients that accept it; 0 switches compression off."""

    drain_s: Annotated[float, pydantic.Field(ge=0, le=600, strict=False)] = 6.0
    """How long a stopping server lets running requests finish. Process managers of IIS kill after 10 s."""


def host_and_port(bind: str) -> tuple[str, int]:
    """The two parts of a `bind` setting.

    Raises:
        ValueError: it has no such form.
    """
    host, separator, port = bind.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not separator or not host or (":" in host and not bracketed) or not (port.isascii() and port.isdigit()):
        raise ValueError(f"{bind!r} is not address:port, for example 127.0.0.1:8080 or [::1]:8080")
    if int(port) > 65535:
        raise ValueError(f"port {port} is above 65535")
    return host.strip("[]"), int(port)


def is_unix(bind: str) -> bool:
    """Whether a `bind` setting is a socket in the file system."""
    return bind.startswith(UNIX_PREFIX)


def carries_tokens(settings: GateSettings) -> bool:
    """Whether Windows tokens may come by the front door."""
    return bool(FRONT_DOORS[settings.front_door].token_header)
