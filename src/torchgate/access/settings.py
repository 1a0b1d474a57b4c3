"""What can be set about identity, roles, policy, development identities and secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from torchgate.access.api_key_settings import ApiKeySettings
from torchgate.access.certificate_settings import CertificateSettings, PathPrefix
from torchgate.access.names import IssuerName, RoleName
from torchgate.access.negotiate_settings import NegotiateSettings
from torchgate.access.oidc_settings import OidcSettings, Text
from torchgate.access.policy_settings import PolicySettings
from torchgate.access.resource_settings import ResourceSettings
from torchgate.access.secrets.reference import parse_reference
from torchgate.access.windows_settings import WindowsSettings
from torchgate.contract.file_names import is_device_name
from torchgate.contract.settings_file import SECRET_VALUE, Settings


def _file_name(name: str) -> str:
    if is_device_name(name):
        raise ValueError(f"{name!r} names a device on Windows, so that no file can have it. Choose another name")
    return name


def _reference(text: str) -> str:
    try:
        parse_reference(text)
    except ValueError as error:
        raise PydanticCustomError(SECRET_VALUE, "{sentence}", {"sentence": str(error)}) from None
    return text


SecretReferenceText = Annotated[str, AfterValidator(_reference)]


class RefusalSettings(Settings):
    """How many refused credentials of one address are answered and audited one by one (`[identity.refusals]`)."""

    burst: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Refusals at once."""
    per_minute: Annotated[float, Field(gt=0, le=100_000)] = 60.0
    """Refusals per minute after that; the rest get 429 and are counted."""
    interval_s: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """Seconds that one counted audit event covers."""
    max_addresses: Annotated[int, Field(ge=16, le=1_000_000)] = 4096
    """Addresses with a bucket of their own; beyond that, new ones share one."""


class IdentitySettings(Settings):
    """Who may present what (`[identity]`)."""

    oidc: tuple[OidcSettings, ...] = ()
    """Issuers of bearer tokens."""
    api_keys: tuple[ApiKeySettings, ...] = ()
    """API keys; those that `torchgate keys` makes stand in a file of their own."""
    api_keys_file: Path = Path("keys.toml")
    """Further API keys: what `torchgate keys` writes. Read again when it changes; it need not be there."""
    windows: WindowsSettings = WindowsSettings()
    """Windows identities."""
    refresh_s: Annotated[float, Field(ge=0.1, le=3600, strict=False)] = 2.0
    """Seconds between looks at the files of keys and certificates: how soon a revoked key stops counting."""
    negotiate: NegotiateSettings | None = None
    """Kerberos tickets on our own socket; absent: they don't count."""
    certificates: tuple[CertificateSettings, ...] = ()
    """Authorities for client certificates."""
    certificate_paths: tuple[PathPrefix, ...] = ("/",)
    """Where a client's certificate is a credential: these paths and all below; elsewhere it only binds a token."""
    max_token_bytes: Annotated[int, Field(ge=1024, le=65_536)] = 16_384
    """Longest bearer token; longer ones are refused unread."""
    max_verified_tokens: Annotated[int, Field(ge=16, le=1_000_000)] = 10_000
    """Verified tokens that are remembered until they expire."""
    refusals: RefusalSettings = RefusalSettings()
    """Limits on refused credentials."""
    resource: ResourceSettings | None = None
    """What clients may learn of this server without a credential; absent: nothing."""


class DevelopmentIdentity(Settings):
    """One made-up identity (`[[development.identities]]`)."""

    name: Annotated[IssuerName, AfterValidator(_file_name)]
    """What it is called; its token is written at start, into a file of this name."""
    roles: tuple[RoleName, ...] = ()
    """The roles that it has."""


class DevelopmentSettings(Settings):
    """Identities for development (`[development]`): front door `direct` on loopback only."""

    enabled: bool = False
    """Whether they count."""
    identities: tuple[DevelopmentIdentity, ...] = ()
    """Who they are."""


RolesSettings = dict[RoleName, tuple[Text, ...]]
"""`[roles]`: role → members, in the grammar of access/policy/roles.py."""
SecretsSettings = dict[RoleName, SecretReferenceText]
"""`[secrets]`: name → reference to the value, e.g. `file:PATH`."""


class AccessSettings(msgspec.Struct, frozen=True):
    """All that access is told, from one settings file.

    Args:
        folder: of the settings file: relative paths of hook, keys and secrets start there.
        roles_used_elsewhere: by other tables than policy's.
    """

    identity: IdentitySettings = IdentitySettings()
    roles: RolesSettings = {}
    policy: PolicySettings = PolicySettings()
    development: DevelopmentSettings = DevelopmentSettings()
    secrets: SecretsSettings = {}
    folder: Path = Path()
    roles_used_elsewhere: frozenset[str] = frozenset()
