"""May they? A pure function of roles, action, resource and policy: denials win, then grants, then deny."""

from __future__ import annotations

from collections.abc import Iterable

from torchgate.access.policy.rules import BUILT_IN_ACTIONS, Policy, Rule
from torchgate.contract.decision import Action, Decision, Resource

DEFAULT_DENY = "default deny"
BUILT_IN_RULE = "built in: every principal may identify, describe and cancel its own requests"


def decide(
    policy: Policy, roles: frozenset[str], denied_roles: frozenset[str], action: Action, resource: Resource
) -> Decision:
    """The decision of the rules alone.

    Args:
        policy: the rules.
        roles: that the principal has.
        denied_roles: that it may have, or has for denials only.
        action, resource: what is asked, on what. A resource with only a name is decided as the model of that name
            would be, so that the answer tells nothing about whether it exists.
    """
    name = _model_name(resource)
    denial = _first(policy.denials, roles | denied_roles, action, name)
    if denial is not None:
        return _decision(policy, False, denial.name, f"{action} is denied to {_shown(denial, roles | denied_roles)}.")
    grant = _first(policy.grants, roles, action, name)
    if grant is not None:
        return _decision(policy, True, grant.name, f"{action} is granted to {_shown(grant, roles)}.", covers=True)
    if action in BUILT_IN_ACTIONS:
        return _decision(policy, True, BUILT_IN_RULE, f"{action} is about the principals themselves.", covers=True)
    may_read = _first(policy.grants, roles, Action.READ, name) is not None and (
        _first(policy.denials, roles | denied_roles, Action.READ, name) is None
    )
    held = f"roles {', '.join(sorted(roles))}" if roles else "no role"
    return _decision(policy, False, DEFAULT_DENY, f"no grant of {action} for {held}.", covers=may_read)


def _model_name(resource: Resource) -> str | None:
    return resource.model.name if resource.model is not None else resource.name or None


def _first(rules: Iterable[Rule], roles: frozenset[str], action: str, name: str | None) -> Rule | None:
    for rule in rules:
        if not rule.roles.isdisjoint(roles) and rule.is_about(action, name):
            return rule
    return None


def _shown(rule: Rule, roles: frozenset[str]) -> str:
    return f"role {', '.join(sorted(rule.roles & roles))}"


def _decision(policy: Policy, allowed: bool, rule: str, reason: str, *, covers: bool = False) -> Decision:
    return Decision(allowed, rule, reason, policy.version, covers)
