"""What is wrong, or worth a look, in the settings of identity, roles and policy; all of it at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from torchgate.access.certificate_checks import authority_findings, authority_mistakes, member_mistake
from torchgate.access.identity.asserted_user import PROXY_ISSUER
from torchgate.access.identity.download import MAX_DOCUMENT_BYTES
from torchgate.access.identity.published_keys import KeysUnreadable, read_key_set
from torchgate.access.issuers import issuer_checks
from torchgate.access.key_checks import key_file_findings, key_findings, known_key_ids
from torchgate.access.negotiate_checks import negotiate_findings, negotiate_member_mistake
from torchgate.access.policy.hook import load_hook
from torchgate.access.policy.roles import RESERVED_WORDS, parse_member
from torchgate.access.policy.windows_members import WINDOWS_WORDS, windows_member_mistake
from torchgate.access.policy_checks import policy_findings
from torchgate.access.policy_settings import RuleSettings
from torchgate.access.settings import AccessSettings
from torchgate.access.windows_checks import uses_windows, windows_findings
from torchgate.contract.bounded_files import read_bounded
from torchgate.contract.findings import Finding
from torchgate.contract.settings_file import nearest
from torchgate.contract.windows_tokens import WindowsAccounts


def checks(settings: AccessSettings, accounts: WindowsAccounts | None = None) -> Iterator[Finding]:
    """Everything that can be found without a network; the hook's module is imported.

    With `accounts`, names of Windows users and groups are resolved, for which Windows may ask a domain controller.

    Each finding names its setting as `identity.oidc.0.issuer`; file and line are for the one who read the file.
    """
    yield from setting_checks(settings)
    yield from _hook(settings)
    yield from _key_files(settings)
    yield from key_findings(settings)
    yield from authority_findings(settings)
    yield from windows_findings(settings, accounts)
    yield from negotiate_findings(settings)
    yield from _unused(settings)
    yield from policy_findings(settings)


def setting_checks(settings: AccessSettings) -> Iterator[Finding]:
    """The mistakes that the settings have by themselves; any of these keeps the server from starting."""
    yield from _duplicates(settings)
    yield from key_file_findings(settings)
    yield from authority_mistakes(settings)
    yield from _members(settings)
    yield from issuer_checks(settings)
    yield from _proofs(settings)
    yield from _rules(settings)
    yield from _development(settings)


def _duplicates(settings: AccessSettings) -> Iterator[Finding]:
    identity = settings.identity
    yield from _twice("identity.oidc", "name", [issuer.name for issuer in identity.oidc])
    yield from _twice("identity.oidc", "issuer", [issuer.issuer for issuer in identity.oidc])
    yield from _twice("identity.api_keys", "id", [key.id for key in identity.api_keys])
    yield from _twice("identity.api_keys", "sha256", [key.sha256 for key in identity.api_keys])
    yield from _twice("development.identities", "name", [one.name for one in settings.development.identities])


def _twice(table: str, key: str, values: list[str]) -> Iterator[Finding]:
    counts = Counter(values)
    for place, value in enumerate(values):
        if counts[value] > 1 and value in values[:place]:
            yield Finding(
                "error",
                f"{value!r} is there already, in {table}.{values.index(value)}; each is allowed once.",
                setting=f"{table}.{place}.{key}",
            )


def _proofs(settings: AccessSettings) -> Iterator[Finding]:
    for place, issuer in enumerate(settings.identity.oidc):
        if issuer.dpop != "off" and settings.identity.resource is None:
            yield Finding(
                "error",
                "DPoP's proofs are made for one URL, and this server's is never taken from a request. "
                "Say it: identity.resource.url.",
                setting=f"identity.oidc.{place}.dpop",
            )


def _members(settings: AccessSettings) -> Iterator[Finding]:
    key_ids = known_key_ids(settings)
    for role, members in settings.roles.items():
        for place, text in enumerate(members):
            if mistake := _member_mistake(text, settings, key_ids):
                yield Finding("error", mistake, setting=f"roles.{role}.{place}")


def _member_mistake(text: str, settings: AccessSettings, key_ids: frozenset[str]) -> str:
    try:
        member = parse_member(text)
    except ValueError as error:
        return f"{error}."
    if member.issuer == "key":
        known = member.value in key_ids
        return "" if known else f"there is no API key {member.value!r}. {_nearest(member.value, sorted(key_ids))}"
    for mistake in (member_mistake(member, settings), negotiate_member_mistake(member, settings)):
        if mistake is not None:
            return mistake
    if member.issuer in WINDOWS_WORDS and uses_windows(settings):
        return windows_member_mistake(member)
    if member.issuer in RESERVED_WORDS:
        return f"{text!r} needs {RESERVED_WORDS[member.issuer]}, which are not configured here."
    names = [issuer.name for issuer in settings.identity.oidc]
    if (member.issuer == PROXY_ISSUER) != (member.kind == "user") and member.kind != "group":
        return f"{text!r} can't be: a proxy says user and group, and nobody else says user."
    if member.issuer not in {*names, PROXY_ISSUER}:
        return f"there is no issuer {member.issuer!r}. {_nearest(member.issuer, names)}"
    return ""


def _rules(settings: AccessSettings) -> Iterator[Finding]:
    for kind, rules in (("grants", settings.policy.grants), ("denials", settings.policy.denials)):
        for place, rule in enumerate(rules):
            yield from _unknown_roles(rule.roles, settings, f"policy.{kind}.{place}.roles")


def _unknown_roles(roles: Iterable[str], settings: AccessSettings, setting: str) -> Iterator[Finding]:
    for role in roles:
        if role not in settings.roles and not _is_development_role(role, settings):
            yield Finding(
                "error", f"there is no role {role!r}. {_nearest(role, list(settings.roles))}", setting=setting
            )


def _is_development_role(role: str, settings: AccessSettings) -> bool:
    """Whether a role without members is meant for development identities: they name their roles themselves."""
    return settings.development.enabled and any(role in one.roles for one in settings.development.identities)


def _development(settings: AccessSettings) -> Iterator[Finding]:
    development = settings.development
    if not development.enabled:
        return
    yield Finding(
        "warning",
        "development identities are enabled: whoever has one of their tokens is believed. Not for production.",
        setting="development.enabled",
    )
    used = {role for rule in _all_rules(settings) for role in rule.roles}
    used |= set(settings.roles) | settings.roles_used_elsewhere
    for place, identity in enumerate(development.identities):
        for role in identity.roles:
            if role not in used:
                yield Finding(
                    "error",
                    f"there is no role {role!r}. {_nearest(role, sorted(used))}",
                    setting=f"development.identities.{place}.roles",
                )


def _hook(settings: AccessSettings) -> Iterator[Finding]:
    if settings.policy.hook is None:
        return
    try:
        load_hook(settings.policy.hook, settings.folder)
    except ValueError as error:
        yield Finding("error", f"{error}.", setting="policy.hook")


def _key_files(settings: AccessSettings) -> Iterator[Finding]:
    for place, issuer in enumerate(settings.identity.oidc):
        if issuer.ca_file is not None and not (settings.folder / issuer.ca_file).is_file():
            yield Finding("warning", f"there is no file {issuer.ca_file}.", setting=f"identity.oidc.{place}.ca_file")
        if issuer.jwks_file is None:
            continue
        try:
            document = read_bounded(settings.folder / issuer.jwks_file, MAX_DOCUMENT_BYTES)
            read_key_set(document, issuer.name, issuer.algorithms)
        except OSError as error:
            reason = f"the file {issuer.jwks_file} can't be read: {error.strerror}"
        except KeysUnreadable as error:
            reason = f"in {issuer.jwks_file}, {error}"
        else:
            continue
        yield Finding(
            "warning", f"{reason}. Its tokens get 503 until it can.", setting=f"identity.oidc.{place}.jwks_file"
        )


def _unused(settings: AccessSettings) -> Iterator[Finding]:
    used = {role for rule in _all_rules(settings) for role in rule.roles} | settings.roles_used_elsewhere
    for role in settings.roles:
        if role not in used and settings.policy.hook is None:
            yield Finding("warning", "no grant and no denial uses this role.", setting=f"roles.{role}")
    if not settings.policy.grants and settings.policy.hook is None:
        yield Finding("warning", "there are no grants, so that every request to a model is denied.", setting="policy")


def _all_rules(settings: AccessSettings) -> tuple[RuleSettings, ...]:
    return (*settings.policy.grants, *settings.policy.denials)


def _nearest(name: str, known: list[str]) -> str:
    return nearest(name, known) if known else "There are none."
