"""What can be set about one issuer of bearer tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from torchgate.access.graph_settings import GraphSettings
from torchgate.access.identity.claim_paths import parse_claim_path
from torchgate.access.identity.entra_issuer import entra_issuer_mistake
from torchgate.access.identity.issuer_url import url_mistake
from torchgate.access.identity.jws import ALGORITHMS
from torchgate.access.identity.okta_issuer import okta_issuer_mistake
from torchgate.access.names import IssuerName
from torchgate.contract.settings_file import Settings, nearest

RESERVED_NAMES = frozenset({"sid", "user", "group", "key", "cert", "development", "windows", "negotiate", "proxy"})
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


Text = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Algorithm = Annotated[str, AfterValidator(_algorithm)]
TenantId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
Profile = Literal["rfc9068", "generic", "entra", "okta", "keycloak"]
Caller = Literal["user", "app"]


class OidcSettings(Settings):
    """One issuer of bearer tokens (`[[identity.oidc]]`)."""

    name: IssuerName
    """What role members and audit call it, e.g. `entra` in `entra:role:Analyst`."""
    issuer: Text
    """The `iss` of its tokens, character for character; its discovery document must say the same."""
    audience: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Names of this server in `aud`; a token must carry one of them, character for character."""
    profile: Profile = "rfc9068"
    """Which rules tell its access tokens from its other tokens, and name its callers: `entra`, `okta`, `keycloak`,
    `rfc9068` (strict) or `generic` for the rest."""
    tenants: tuple[TenantId, ...] = ()
    """Tenants of Entra that count where `issuer` has `{tenantid}`; required there, and only there."""
    callers: Annotated[tuple[Caller, ...], Field(min_length=1)] = ("user", "app")
    """Whose tokens count: those of people (`user`), of programs (`app`). Only Entra and Okta prove which it is."""
    allow_guests: bool = True
    """Whether guests of an Entra tenant count. If not, tokens must say by the optional claim `acct` that it is none."""
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
    """Which clients' tokens count, by `client_id` and `azp` (Entra: `azp` or `appid`; Okta: `cid`); empty means every
    client that the issuer serves."""
    role_claims: tuple[Text, ...] = ("roles",)
    """Where roles are in its tokens: paths like `realm_access.roles`; a part with a dot stands in double quotes. Left
    out under `keycloak`: `realm_access.roles`."""
    group_claims: tuple[Text, ...] = ("groups",)
    """Where groups are in its tokens: paths as above."""
    graph: GraphSettings | None = None
    """How to learn the groups of people who are in too many for their token (Entra); absent: they stay unknown."""
    dpop: Literal["off", "allowed", "required"] = "off"
    """Whether its tokens may be bound to a key of the caller's, and count with a proof of it (RFC 9449, scheme DPoP);
    `required` takes no others. Needs `identity.resource.url`, which proofs are made for."""
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
        if mistake := self._profile_mistake():
            raise ValueError(mistake)
        if self.jwks_uri is not None and (mistake := url_mistake(self.jwks_uri, self.allow_insecure_loopback, True)):
            raise ValueError(f"jwks_uri {mistake}")
        return self

    def _profile_mistake(self) -> str:
        if self.profile == "entra":
            return entra_issuer_mistake(self.issuer, self.tenants)
        if self.tenants or not self.allow_guests or self.graph is not None:
            return 'tenants, allow_guests and graph belong to profile = "entra"'
        if self.profile == "okta":
            return okta_issuer_mistake(self.issuer)
        if len(set(self.callers)) == 1:
            return (
                f'callers = ["{self.callers[0]}"] needs profile = "entra" or "okta": tokens of other issuers do not '
                "prove whether they are a person's. Name the clients whose tokens count in `clients`, or use roles"
            )
        return ""

    def accepted_issuers(self) -> tuple[str, ...]:
        """Every `iss` that counts: one, or one for each allowed tenant."""
        return tuple(self.issuer.replace("{tenantid}", tenant) for tenant in self.tenants) or (self.issuer,)

    def role_paths(self) -> tuple[str, ...]:
        """Where roles are, the profile's own place included where nothing was set."""
        if self.profile == "keycloak" and "role_claims" not in self.model_fields_set:
            return ("realm_access.roles",)
        return self.role_claims
