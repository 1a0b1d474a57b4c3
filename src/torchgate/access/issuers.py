"""Puts the issuers of bearer tokens together from their settings."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.access.identity.bearer_token import Issuer
from torchgate.access.identity.entra_groups import EntraGroups
from torchgate.access.identity.key_set import KeySet
from torchgate.access.identity.key_sources import key_source
from torchgate.access.identity.token_principal import TokenPrincipals
from torchgate.access.oidc_settings import OidcSettings
from torchgate.access.policy.roles import Roles
from torchgate.access.secrets.live_secrets import LiveSecrets
from torchgate.access.settings import AccessSettings
from torchgate.contract.clock import Clock
from torchgate.contract.findings import Finding
from torchgate.contract.settings_file import nearest


def build_issuers(settings: AccessSettings, roles: Roles, secrets: LiveSecrets | None, clock: Clock) -> list[Issuer]:
    """Every issuer of `[[identity.oidc]]`.

    Raises:
        ValueError: groups are to be looked up, and there is no secret for that.
    """
    return [
        Issuer(
            oidc,
            KeySet(oidc, key_source(oidc, settings.folder), clock),
            TokenPrincipals(oidc, roles.claim_members(oidc.name)),
            _groups(oidc, settings, secrets, clock),
        )
        for oidc in settings.identity.oidc
    ]


def _groups(
    oidc: OidcSettings, settings: AccessSettings, secrets: LiveSecrets | None, clock: Clock
) -> EntraGroups | None:
    if oidc.graph is None:
        return None
    if secrets is None:
        raise ValueError(f"identity.oidc.{oidc.name}.graph needs the secret {oidc.graph.client_secret!r}")
    return EntraGroups(oidc, oidc.graph, secrets.get(oidc.graph.client_secret), settings.folder, clock)


def issuer_checks(settings: AccessSettings) -> Iterator[Finding]:
    """Mistakes between issuers, secrets and roles."""
    yield from _same_tenant(settings)
    resource = settings.identity.resource
    if resource is not None and not settings.identity.oidc and not resource.authorization_servers:
        yield Finding(
            "warning",
            "there are no issuers, so that clients are told of none.",
            setting="identity.resource",
            remedy="Add [[identity.oidc]], or take [identity.resource] out.",
        )
    for place, oidc in enumerate(settings.identity.oidc):
        if oidc.graph is not None and oidc.graph.client_secret not in settings.secrets:
            known = list(settings.secrets)
            hint = nearest(oidc.graph.client_secret, known) if known else "[secrets] is empty."
            yield Finding(
                "error",
                f"there is no secret {oidc.graph.client_secret!r} in [secrets]. {hint}",
                setting=f"identity.oidc.{place}.graph.client_secret",
            )
        if oidc.profile == "okta":
            yield from _login_names(settings, oidc.name)


def _same_tenant(settings: AccessSettings) -> Iterator[Finding]:
    """An issuer of many tenants and one of its tenants by itself: which rules are meant can't be told."""
    owners: dict[str, OidcSettings] = {}
    for place, oidc in enumerate(settings.identity.oidc):
        for accepted in set(oidc.accepted_issuers()):
            owner = owners.setdefault(accepted, oidc)
            if owner.issuer != oidc.issuer:  # the same issuer twice is told by another check
                yield Finding(
                    "error",
                    f"tokens of {accepted} count already for the issuer {owner.name!r}; each may count for one.",
                    setting=f"identity.oidc.{place}.issuer",
                )


def _login_names(settings: AccessSettings, issuer: str) -> Iterator[Finding]:
    prefix = f"{issuer}:sub:"
    for role, members in settings.roles.items():
        for place, member in enumerate(members):
            if member.startswith(prefix) and "@" in member:
                yield Finding(
                    "error",
                    f"{member!r} is a login name of Okta, which may be given to somebody else; write {issuer}:uid:ID.",
                    setting=f"roles.{role}.{place}",
                )
