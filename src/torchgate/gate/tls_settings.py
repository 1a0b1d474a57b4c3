"""The settings of `[gate.tls]`: our own TLS, where no front door with TLS stands before us."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from torchgate.contract.settings_file import Settings

SecretName = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


class TlsSettings(Settings):
    """TLS of our own socket."""

    certificate_file: Path
    """The server's certificate and those between it and its authority (PEM), in this order; read again on a change."""

    key_file: Path | None = None
    """The private key of the certificate (PEM), readable for the server's account alone."""

    key_secret: SecretName | None = None
    """Name in `[secrets]` of the private key (PEM), instead of a file."""

    key_password: SecretName | None = None
    """Name in `[secrets]` of the password that the key is encrypted with."""

    minimum_version: Literal["1.2", "1.3"] = "1.2"
    """Oldest version of TLS that is spoken."""

    client_certificates: Literal["none", "optional", "required"] = "none"
    """Whether clients are asked for a certificate of an authority in `[[identity.certificates]]`, and must have one."""

    handshake_timeout_s: Annotated[float, pydantic.Field(ge=1, le=60, strict=False)] = 10.0
    """From the connection to the end of TLS's handshake."""

    max_handshakes: Annotated[int, pydantic.Field(ge=1, le=65535)] = 256
    """Handshakes that are unfinished at a time, beside `gate.max_connections`; beyond, the oldest of them is cut."""

    max_handshakes_by_address: Annotated[int, pydantic.Field(ge=1, le=65535)] = 32
    """The same of one IPv4 address or one IPv6 /64; beyond, the oldest of that address is cut. Raise it where all
    clients come from one address, such as that of a load balancer."""

    refresh_s: Annotated[float, pydantic.Field(ge=0.1, le=3600, strict=False)] = 10.0
    """Seconds between looks at these files; a changed certificate serves the next connection."""

    @pydantic.model_validator(mode="after")
    def _one_key(self) -> TlsSettings:
        if (self.key_file is None) == (self.key_secret is None):
            raise ValueError("key_file or key_secret says where the private key is: exactly one of them")
        return self
