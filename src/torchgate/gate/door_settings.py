"""The settings of front doors that need some (`[gate.proxy]`)."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import pydantic

from torchgate.access.api_key_settings import Sha256Hex
from torchgate.contract.settings_file import Settings
from torchgate.gate.certificate_headers import CertificateFormat


def _header(name: str) -> str:
    if name.lower() in {"authorization", "x-api-key", "dpop", "host", "content-length", "transfer-encoding", "origin"}:
        raise ValueError(f"{name!r} is a header that callers send themselves; let the proxy use one of its own")
    return name


def _peer(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is neither an address nor a network such as 10.1.2.0/24") from None
    if network.prefixlen == 0:
        raise ValueError(f"{text!r} is everybody; list the proxy's own addresses")
    return text


HeaderName = Annotated[
    str, pydantic.StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"), pydantic.AfterValidator(_header)
]
PeerText = Annotated[str, pydantic.AfterValidator(_peer)]


class ProxySettings(Settings):
    """A reverse proxy before us (`[gate.proxy]`): what proves it, and what it carries."""

    peers: tuple[PeerText, ...] = ()
    """Addresses or networks that its connections come from; nobody else is let in. Not with a unix socket."""

    secret: Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")] | None = None
    """Name in `[secrets]` of a secret that it sends with each request."""

    secret_header: HeaderName = "X-Torchgate-Proxy"  # noqa: S105 - the name of a header
    """Header of that secret."""

    certificates: tuple[Sha256Hex, ...] = ()
    """SHA-256 of the certificates that it may show when it connects to us by TLS, in lower-case hex."""

    address_header: HeaderName | None = None
    """Header to which the proxy itself appends or writes its client's address, e.g. `X-Forwarded-For`. Only where it
    does so on every request: otherwise clients choose their own address."""

    user_header: HeaderName | None = None
    """Header of the user whom it has authenticated, e.g. `X-Remote-User`; it must overwrite what clients send."""

    groups_header: HeaderName | None = None
    """Header of that user's groups; without it groups are unknown, and every denial on a role with groups applies."""

    groups_separator: Annotated[str, pydantic.StringConstraints(min_length=1, max_length=4)] = ","
    """Between the groups."""

    certificate_header: HeaderName | None = None
    """Header of the client's certificate, e.g. `X-Client-Cert`."""

    certificate_format: CertificateFormat = "nginx"
    """How it is written: `nginx` (`$ssl_client_escaped_cert`), `apache` (`%{SSL_CLIENT_CERT}s`), `rfc9440`
    (`Client-Cert`), `der` (base64 of DER)."""

    verified_header: HeaderName | None = None
    """Header that says `SUCCESS` where the proxy has verified that certificate, e.g. `X-Client-Verify`."""

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> ProxySettings:
        if self.groups_header is not None and self.user_header is None:
            raise ValueError("groups_header is there without user_header; groups belong to a user")
        if self.verified_header is not None and self.certificate_header is None:
            raise ValueError("verified_header is there without certificate_header")
        folded = [name.lower().replace("_", "-") for name in self.headers()]
        if len(set(folded)) != len(folded):
            raise ValueError("two of the headers are the same; each must have a name of its own")
        return self

    def headers(self) -> tuple[str, ...]:
        """The names of all headers that are believed."""
        names = (self.address_header, self.user_header, self.groups_header, self.certificate_header)
        secret = self.secret_header if self.secret is not None else None
        return tuple(name for name in (*names, self.verified_header, secret) if name is not None)

    @property
    def has_proof(self) -> bool:
        """Whether something besides the address of its connections proves it."""
        return self.secret is not None or bool(self.certificates)
