"""Why a decision is as it is: every rule, in order, and whether it speaks of the question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from torchgate.access.policy.decide import decide
from torchgate.access.policy.rules import Policy, Rule
from torchgate.contract.decision import Action, Decision, Resource


class RuleReading(msgspec.Struct, frozen=True):
    """One rule against one question.

    Args:
        rule: its name, e.g. `policy.grants[2]`.
        applies: whether it speaks of the question.
        reason: why, or why not.
    """

    rule: str
    applies: bool
    reason: str


class Explanation(msgspec.Struct, frozen=True):
    """A decision of the rules alone, and the reading of every rule; a hook, if there is one, is asked after it."""

    decision: Decision
    readings: tuple[RuleReading, ...]
    has_hook: bool

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        verdict = "allowed" if self.decision.allowed else "denied"
        yield f"{verdict} by {self.decision.rule}: {self.decision.reason} (policy {self.decision.policy_version})"
        for reading in self.readings:
            yield f"  {'applies' if reading.applies else 'does not apply'}: {reading.rule}: {reading.reason}"
        if self.has_hook and not any(reading.applies for reading in self._denials()):
            yield "  then the hook (policy.hook) is asked, and its answer is the decision"

    def _denials(self) -> Iterator[RuleReading]:
        return (reading for reading in self.readings if reading.rule.startswith("policy.denials"))


def explain(
    policy: Policy,
    roles: frozenset[str],
    denied_roles: frozenset[str],
    action: Action,
    resource: Resource,
    *,
    has_hook: bool = False,
) -> Explanation:
    """The decision for a principal with these roles, and how each rule reads the question; denials first."""
    name = resource.model.name if resource.model is not None else resource.name or None
    readings = [
        *(_reading(rule, roles | denied_roles, action, name) for rule in policy.denials),
        *(_reading(rule, roles, action, name) for rule in policy.grants),
    ]
    return Explanation(decide(policy, roles, denied_roles, action, resource), tuple(readings), has_hook)


def _reading(rule: Rule, roles: frozenset[str], action: Action, name: str | None) -> RuleReading:
    held = sorted(rule.roles & roles)
    if not held:
        return RuleReading(rule.name, False, f"it is about {_listed(sorted(rule.roles))}, not about these roles")
    if action not in rule.actions and "*" not in rule.actions:
        return RuleReading(rule.name, False, f"it is about {_listed(sorted(rule.actions))}, not about {action}")
    if not rule.is_about(action, name):
        models = sorted([*rule.exact, *(f"{prefix}*" for prefix in rule.prefixes)])
        asked = "the server" if name is None else f"model {name!r}"
        return RuleReading(rule.name, False, f"it is about {_listed(models)}, not about {asked}")
    return RuleReading(rule.name, True, f"role {_listed(held)}, action {action}")


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)
