"""May they? A pure function of the question and the policy: denials win, then grants, then deny."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from torchgate.access.policy.rules import BUILT_IN_ACTIONS, Policy, Rule, subject_of
from torchgate.contract.decision import Action, Decision, RequestFacts, Resource

DEFAULT_DENY = "default deny"
BUILT_IN_RULE = "built in: every principal may identify, describe and cancel its own requests"


class Question(msgspec.Struct, frozen=True):
    """What the rules are asked.

    Args:
        roles: that the principal has.
        denied_roles: that it may have, or has for denials only.
        action, resource: what is asked, on what. A resource with only a name is decided as the model of that name
            would be, so that the answer tells nothing about whether it exists.
        at: Unix seconds.
        facts: what only the decoded body tells; None at the door, where a grant that depends on them is possible.
    """

    roles: frozenset[str]
    denied_roles: frozenset[str]
    action: Action
    resource: Resource
    at: float
    facts: RequestFacts | None = None

    @property
    def any_roles(self) -> frozenset[str]:
        """Those that count for denials."""
        return self.roles | self.denied_roles


def decide(policy: Policy, question: Question) -> Decision:
    """The decision of the rules alone."""
    action = question.action
    denial = _first(policy.denials, question, action)
    if denial is not None:
        return _decision(policy, False, denial.name, f"{action} is denied to {_shown(denial, question.any_roles)}.")
    grant = _first(policy.grants, question, action)
    if grant is not None:
        return _decision(policy, True, grant.name, _granted(grant, question), covers=True)
    if action in BUILT_IN_ACTIONS:
        return _decision(policy, True, BUILT_IN_RULE, f"{action} is about the principals themselves.", covers=True)
    reading = msgspec.structs.replace(question, facts=None)  # of this request's body, which no reading has
    may_read = (
        _first(policy.grants, reading, Action.READ) is not None and _first(policy.denials, reading, Action.READ) is None
    )
    held = f"roles {', '.join(sorted(question.roles))}" if question.roles else "no role"
    return _decision(policy, False, DEFAULT_DENY, f"no grant of {action} for {held}.", covers=may_read)


def weighing_facts(policy: Policy, question: Question) -> Policy | None:
    """The policy without the rules that say nothing of this question; None where no rule left depends on facts."""
    actions = (question.action, Action.READ)  # who may read a name learns that no model has it
    denials, grants = (
        tuple(rule for rule in rules if any(_matches(rule, question, action) for action in actions))
        for rules in (policy.denials, policy.grants)
    )
    if all(rule.conditions.limits is None for rule in (*denials, *grants)):
        return None
    return msgspec.structs.replace(policy, denials=denials, grants=grants)


def _first(rules: Iterable[Rule], question: Question, action: Action) -> Rule | None:
    for rule in rules:
        if _matches(rule, question, action) and rule.holds(question.facts):
            return rule
    return None


def _matches(rule: Rule, question: Question, action: Action) -> bool:
    """Whether a rule speaks of the question, as far as that can be told without facts."""
    roles = question.any_roles if rule.is_denial else question.roles
    name, version = subject_of(question.resource)
    return (
        not rule.roles.isdisjoint(roles)
        and rule.is_about_action(action)
        and rule.is_about_model(name)
        and rule.is_about_version(version)
        and rule.is_open(question.at)
    )


def _granted(grant: Rule, question: Question) -> str:
    granted = f"{question.action} is granted to {_shown(grant, question.roles)}"
    if grant.conditions.limits is None or question.facts is not None:
        return f"{granted}."
    return f"{granted}, as far as can be told before its body is read."


def _shown(rule: Rule, roles: frozenset[str]) -> str:
    return f"role {', '.join(sorted(rule.roles & roles))}"


def _decision(policy: Policy, allowed: bool, rule: str, reason: str, *, covers: bool = False) -> Decision:
    return Decision(allowed, rule, reason, policy.version, covers)
