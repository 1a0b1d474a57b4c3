"""Puts access together from its settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from torchgate.access.checks import setting_checks
from torchgate.access.identity.api_key import ApiKeys
from torchgate.access.identity.asserted_user import AssertedUsers
from torchgate.access.identity.authenticate import Authentication, Authenticator
from torchgate.access.identity.bearer_token import BearerTokens
from torchgate.access.identity.certificate import ClientCertificates
from torchgate.access.identity.development import DevelopmentTokens
from torchgate.access.identity.dpop import Proofs
from torchgate.access.identity.presented import Kind
from torchgate.access.identity.protected_resource import bearer_challenge, dpop_challenge, takes_proofs
from torchgate.access.issuers import build_issuers
from torchgate.access.negotiate_build import challenges, with_kerberos
from torchgate.access.neighbours import AccessNeighbours
from torchgate.access.policy.authorise import Authorisation
from torchgate.access.policy.hook import HookRunner, load_hook
from torchgate.access.policy.roles import Roles
from torchgate.access.policy.rules import Policy, make_policy, make_rule
from torchgate.access.settings import AccessSettings
from torchgate.access.watched_files import WatchedFiles
from torchgate.access.windows_build import resolved_sids, windows_identities
from torchgate.contract.audit_event import LifecycleEvent
from torchgate.contract.clock import Clock, monotonic_s

_ALONE = AccessNeighbours()


def build_access(
    settings: AccessSettings,
    *,
    clock: Clock = monotonic_s,
    wall_clock: Callable[[], float] = time.time,
    development_tokens: Mapping[str, str] | None = None,
    on_lifecycle: Callable[[LifecycleEvent], None] | None = None,
    neighbours: AccessNeighbours = _ALONE,
) -> tuple[Authentication, Authorisation]:
    """Authentication and authorisation, ready to be asked.

    `await authentication.start()` begins to read the issuers' keys; at the end, `await authentication.stop()` and
    `authorisation.stop()`. A reload is a new pair, which may `inherit` issuers' keys and the hook: nothing that was
    remembered outlives the settings it came from.

    Args:
        settings: as read.
        clock: seconds, monotonic: refreshes and limits go by it.
        wall_clock: Unix seconds: expiry goes by it.
        development_tokens: name → token (`new_development_token()`) for each identity of `[development]`;
            given only where development identities are allowed to exist (DESIGN 4.4), and ignored where
            `development.enabled` is false.
        on_lifecycle: is told when a file of keys or certificates was read again, or can't be.
        neighbours: what the rest of the server has for access.

    Raises:
        ValueError: the settings have mistakes; the sentence has all of them.
    """
    mistakes = [str(finding) for finding in setting_checks(settings) if finding.severity == "error"]
    if mistakes:
        raise ValueError("The settings of access have mistakes:\n" + "\n".join(mistakes))
    roles = Roles(settings.roles, resolved_sids(settings, neighbours.windows_accounts))
    hook, hook_digest = None, ""
    if settings.policy.hook is not None:
        function, hook_digest = load_hook(settings.policy.hook, settings.folder)
        limits = (settings.policy.hook_timeout_s, settings.policy.hook_threads)
        hook = HookRunner(function, timeout_s=limits[0], threads=limits[1], origin=hook_digest)
    authorisation = Authorisation(build_policy(settings, hook_digest), hook, wall_clock)
    watched = WatchedFiles(settings, on_lifecycle or _nobody)
    authentication = _authentication(
        settings, (clock, wall_clock), development_tokens or {}, roles=roles, watched=watched, neighbours=neighbours
    )
    return authentication, authorisation


def build_policy(settings: AccessSettings, hook_digest: str = "") -> Policy:
    """The rules alone, for `policy explain`; its version is the server's only with the digest of the hook."""
    grants = [
        make_rule(f"policy.grants[{place}]", rule.roles, rule.models, rule.actions, rule.conditions())
        for place, rule in enumerate(settings.policy.grants)
    ]
    denials = [
        make_rule(f"policy.denials[{place}]", rule.roles, rule.models, rule.actions, rule.conditions(), is_denial=True)
        for place, rule in enumerate(settings.policy.denials)
    ]
    return make_policy(grants, denials, settings.roles, hook_digest)


def _authentication(
    settings: AccessSettings,
    clocks: tuple[Clock, Callable[[], float]],
    development_tokens: Mapping[str, str],
    *,
    roles: Roles,
    watched: WatchedFiles,
    neighbours: AccessNeighbours,
) -> Authentication:
    clock, wall_clock = clocks
    identity = settings.identity
    issuers = build_issuers(settings, roles, neighbours.secrets, clock)
    windows = windows_identities(settings, neighbours.windows_accounts, roles=roles, clock=clock)
    windows = with_kerberos(windows, settings, neighbours.kerberos, roles=roles, wall_clock=wall_clock)
    look_ups = [issuer.groups for issuer in issuers if issuer.groups is not None]
    takes_dpop = takes_proofs(identity.oidc) and identity.resource is not None
    proofs = Proofs(identity.resource.url, wall_clock=wall_clock) if takes_dpop and identity.resource else None
    tokens = BearerTokens(
        issuers,
        max_token_bytes=identity.max_token_bytes,
        max_verified=identity.max_verified_tokens,
        with_roles=roles.given_to,
        wall_clock=wall_clock,
        proofs=proofs,
    )
    api_keys = ApiKeys((), with_roles=roles.given_to, wall_clock=wall_clock)
    watched.keep_keys(api_keys)
    accounts = windows.authenticators.get("asserted")
    others: dict[Kind, Authenticator] = {**windows.authenticators, "asserted": AssertedUsers(roles.given_to, accounts)}
    if identity.certificates:
        certificates = ClientCertificates((), with_roles=roles.given_to, wall_clock=wall_clock)
        watched.keep_authorities(certificates)
        others["certificate"] = certificates
    identities = settings.development.identities if settings.development.enabled else ()
    development = DevelopmentTokens(identities, development_tokens)
    schemes = challenges(settings, bearer_challenge(identity.resource))
    return Authentication(
        tokens,
        api_keys,
        development,
        fresh=[*(issuer.keys for issuer in issuers), *look_ups, *watched.watches, *windows.threads],
        challenges=schemes if proofs is None else (dpop_challenge(), *schemes),
        others=others,
    )


def _nobody(_: LifecycleEvent) -> None:
    """Is told in vain."""
