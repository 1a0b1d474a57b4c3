"""What the policy says and can never do: rules that nobody meets, that another takes over, or that never count."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

from torchgate.access.key_checks import roles_of_keys
from torchgate.access.policy.roles import parse_member
from torchgate.access.policy.rules import Rule, make_rule
from torchgate.access.policy_settings import RuleSettings
from torchgate.access.settings import AccessSettings
from torchgate.contract.decision import ModelRef
from torchgate.contract.findings import Finding
from torchgate.contract.settings_file import nearest


def policy_findings(settings: AccessSettings) -> Iterator[Finding]:
    """Warnings about roles and rules; nothing of it keeps a server from starting."""
    held = _held_roles(settings)
    yield from _nobody(settings, held)
    denials, grants = _rules(settings, "denials"), _rules(settings, "grants")
    now = time.time()
    for place, rule in enumerate(denials):
        yield from _never_open(rule, now)
        yield from _taken(rule, denials[:place])
        yield from _unknown_groups(rule, settings)
    for place, rule in enumerate(grants):
        yield from _never_open(rule, now)
        yield from _shadowed(rule, denials)
        yield from _taken(rule, grants[:place])


def model_findings(settings: AccessSettings, models: Collection[ModelRef]) -> Iterator[Finding]:
    """Models and versions that rules name and that are not there."""
    for kind in ("grants", "denials"):
        for place, rule in enumerate(getattr(settings.policy, kind)):
            yield from _models_of(rule, f"policy.{kind}.{place}", models)


def _models_of(rule: RuleSettings, setting: str, models: Collection[ModelRef]) -> Iterator[Finding]:
    names = sorted({ref.name for ref in models})
    patterns = rule.models or ()
    for pattern in patterns:
        if pattern != "*" and not any(_fits(pattern, name) for name in names):
            hint = nearest(pattern, names) if names else "There are no models."
            yield Finding("warning", f"there is no model {pattern!r}. {hint}", setting=f"{setting}.models")
    versions = {ref.version for ref in models if any(_fits(pattern, ref.name) for pattern in patterns)}
    for version in rule.versions or ():
        if versions and version not in versions:
            yield Finding("warning", f"none of these models has a version {version}.", setting=f"{setting}.versions")


def _fits(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _held_roles(settings: AccessSettings) -> frozenset[str]:
    """Roles that somebody can have."""
    given = {role for role, members in settings.roles.items() if members}
    if settings.development.enabled:
        given |= {role for one in settings.development.identities for role in one.roles}
    return frozenset(given | roles_of_keys(settings))


def _nobody(settings: AccessSettings, held: frozenset[str]) -> Iterator[Finding]:
    for role, members in settings.roles.items():
        if not members and role not in held:
            yield Finding("warning", "has no members, so that nobody has this role.", setting=f"roles.{role}")
    for place, grant in enumerate(settings.policy.grants):
        if held.isdisjoint(grant.roles):
            sentence = f"this grant is of no use: nobody has {_either(grant.roles)}."
            remedy = "Give the role a member in [roles], or take the grant out."
            yield Finding("warning", sentence, setting=f"policy.grants.{place}", remedy=remedy)


def _never_open(rule: Rule, now: float) -> Iterator[Finding]:
    window = rule.conditions.window
    if window is not None and not window.ever_opens(now):
        sentence = "this rule never counts any more: its days, hours and dates have passed, or never meet."
        yield Finding("warning", sentence, setting=_setting(rule), remedy="Correct them, or take the rule out.")


def _shadowed(grant: Rule, denials: Sequence[Rule]) -> Iterator[Finding]:
    for denial in denials:
        if _covers(denial, grant):
            sentence = f"this grant never wins: {denial.name} denies all of it to everybody whom it is about."
            yield Finding("warning", sentence, setting=_setting(grant), remedy="Take one of the two out.")
            return


def _taken(rule: Rule, earlier: Sequence[Rule]) -> Iterator[Finding]:
    for other in earlier:
        if _covers(other, rule):
            yield Finding("info", f"{other.name} says all of this already.", setting=_setting(rule))
            return


def _covers(other: Rule, rule: Rule) -> bool:
    """Whether the other rule always speaks where this one does."""
    if other.conditions.window is not None or other.conditions.limits is not None:
        return False
    versions = other.conditions.versions
    return (
        rule.roles <= other.roles
        and all(other.is_about_action(action) for action in rule.actions)
        and all(other.is_about_model(name) for name in rule.exact)
        and all(prefix.startswith(other.prefixes) for prefix in rule.prefixes)
        and (not versions or (bool(rule.conditions.versions) and rule.conditions.versions <= versions))
    )


def _unknown_groups(denial: Rule, settings: AccessSettings) -> Iterator[Finding]:
    """Whom a denial meets although nobody knows that it should: it is safe, and people wonder."""
    members = [parse_member(text) for role in denial.roles for text in settings.roles.get(role, ())]
    issuers = {member.issuer for member in members if member.kind == "group"}
    if any(member.issuer in ("sid", "group") for member in members):
        issuers.add("Windows")
    if issuers:
        sentence = (
            f"this denial is about groups, so that it also meets callers of {_either(sorted(issuers))} whose groups "
            "could not all be learnt."
        )
        yield Finding("info", sentence, setting=_setting(denial))


def _rules(settings: AccessSettings, kind: str) -> list[Rule]:
    tables: tuple[RuleSettings, ...] = getattr(settings.policy, kind)
    return [
        make_rule(
            f"policy.{kind}[{place}]",
            table.roles,
            table.models,
            table.actions,
            table.conditions(),
            is_denial=kind == "denials",
        )
        for place, table in enumerate(tables)
    ]


def _setting(rule: Rule) -> str:
    return rule.name.replace("[", ".").removesuffix("]")


def _either(names: Sequence[str]) -> str:
    return " or ".join(names)
