"""What can be set about identity, roles, policy, development identities and secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from torchgate.access.api_key_settings import ApiKeySettings
from torchgate.access.identity.claim_paths import parse_claim_path
from torchgate.access.identity.issuer_url import url_mistake
from torchgate.access.identity.jws import ALGORITHMS
from torchgate.access.names import IssuerName, RoleName
from torchgate.access.policy_settings import PolicySettings
from torchgate.access.secrets.reference import parse_reference
from torchgate.contract.file_names import is_device_name
from torchgate.contract.settings_file import SECRET_VALUE, Settings, nearest

RESERVED_NAMES = frozenset({"sid", "user", "group", "key", "cert", "development", "windows", "negotiate"})
"""Words that role members and principals use themselves, so no issuer may have them."""


def _algorithm(name: str) -> str:
    if name.lower() == "none" or name.upper().startswith("HS"):
        raise ValueError(
            f"{name!r} is refused: without a signature, or with a shared secret, whoever can examine a token can "
            f"make one. Allowed: {', '.join(ALGORITHMS)}"
        )
    if name not in ALGORITHMS:
        raise ValueError(f"{name!r} is not an algorithm that we verify. {nearest(name, list(ALGORITHMS))}")
    return name


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


Text = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Algorithm = Annotated[str, AfterValidator(_algorithm)]
SecretReferenceText = Annotated[str, AfterValidator(_reference)]
Profile = Literal["rfc9068", "generic"]


class OidcSettings(Settings):
    """One issuer of bearer tokens (`[[identity.oidc]]`)."""

    name: IssuerName
    """What role members and audit call it, e.g. `entra` in `entra:role:Analyst`."""
    issuer: Text
    """The `iss` of its tokens, character for character; its discovery document must say the same."""
    audience: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Names of this server in `aud`; a token must carry one of them, character for character."""
    profile: Profile = "rfc9068"
    """Which rules tell its access tokens from its other tokens: `rfc9068` strict, `generic` for the rest."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "PS256", "ES256", "ES384", "Ed25519")
    """Signature algorithms that count. A published key that names none is bound to the first that fits it."""
    jwks_uri: Text | None = None
    """Where its keys are, if not where its discovery document says (needed where that is on another host)."""
    jwks_file: Path | None = None
    """A file with its keys, for an issuer that this machine can't reach; read again every `refresh_interval_s`."""
    ca_file: Path | None = None
    """Certificate authorities (PEM) for its https, in place of the operating system's."""
    allow_insecure_loopback: bool = False
    """Whether plain http is allowed for an issuer on this machine: for tests and development."""
    clients: tuple[Text, ...] = ()
    """Which clients' tokens count, by `client_id` and `azp`; empty means every client that the issuer serves."""
    role_claims: tuple[Text, ...] = ("roles",)
    """Where roles are in its tokens: paths like `realm_access.roles`; a part with a dot stands in double quotes."""
    group_claims: tuple[Text, ...] = ("groups",)
    """Where groups are in its tokens: paths as above."""
    clock_skew_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    """Seconds that its clock and ours may differ."""
    max_lifetime_s: Annotated[float, Field(gt=0)] | None = None
    """Longest span between `iat` and `exp`, in seconds; longer tokens are refused."""
    max_age_s: Annotated[float, Field(gt=0)] | None = None
    """Longest span since `iat`, in seconds; older tokens are refused."""
    refresh_interval_s: Annotated[float, Field(ge=1, le=86_400)] = 3600.0
    """Seconds between background refreshes of its keys: the longest that a withdrawn key still counts."""
    unknown_key_delay_s: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """Seconds after which a key that was not there is looked for again."""

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name in RESERVED_NAMES:
            raise ValueError(f"{name!r} is reserved; call the issuer something else")
        return name

    @field_validator("role_claims", "group_claims")
    @classmethod
    def _claim_paths(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            parse_claim_path(path)
        return paths

    @model_validator(mode="after")
    def _consistent(self) -> OidcSettings:
        if self.jwks_uri is not None and self.jwks_file is not None:
            raise ValueError("jwks_uri and jwks_file are both there; one of them says where the keys are")
        if mistake := url_mistake(self.issuer, self.allow_insecure_loopback):
            raise ValueError(f"issuer {mistake}")
        if self.jwks_uri is not None and (mistake := url_mistake(self.jwks_uri, self.allow_insecure_loopback, True)):
            raise ValueError(f"jwks_uri {mistake}")
        return self


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
    refresh_s: Annotated[float, Field(ge=0.1, le=3600, strict=False)] = 2.0
    """Seconds between looks at the files of keys and certificates: how soon a revoked key stops counting."""
    max_token_bytes: Annotated[int, Field(ge=1024, le=65_536)] = 16_384
    """Longest bearer token; longer ones are refused unread."""
    max_verified_tokens: Annotated[int, Field(ge=16, le=1_000_000)] = 10_000
    """Verified tokens that are remembered until they expire."""
    refusals: RefusalSettings = RefusalSettings()
    """Limits on refused credentials."""


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
