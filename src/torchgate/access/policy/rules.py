"""Grants and denials as the policy holds them: each has a name by its place, and the whole has a version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from torchgate.contract.decision import Action

SERVER_ACTIONS: frozenset[str] = frozenset(
    {Action.METRICS, Action.ADMIN, Action.IDENTIFY, Action.CANCEL, Action.DESCRIBE}
)
"""Actions that are asked of the server and not of a model (`admin`: of either)."""

BUILT_IN_ACTIONS: frozenset[str] = frozenset({Action.IDENTIFY, Action.CANCEL, Action.DESCRIBE})
"""What every authenticated principal may, unless a denial says otherwise: it is about themselves alone."""


class Rule(msgspec.Struct, frozen=True):
    """One grant or denial.

    Args:
        name: its place in the settings, e.g. `policy.grants[2]`.
        roles: whom it is about.
        exact, prefixes: model names, and beginnings of names (`*` is the empty beginning); byte for byte.
        actions: what it is about; all actions where `*` is among them.
    """

    name: str
    roles: frozenset[str]
    exact: frozenset[str]
    prefixes: tuple[str, ...]
    actions: frozenset[str]

    def is_about(self, action: str, model_name: str | None) -> bool:
        """Whether it speaks of this action on this model; None is the server, which only `*` covers."""
        if action not in self.actions and "*" not in self.actions:
            return False
        if model_name is None:
            return "" in self.prefixes
        return model_name in self.exact or (bool(self.prefixes) and model_name.startswith(self.prefixes))


class Policy(msgspec.Struct, frozen=True):
    """The ordered whole of the rules.

    Args:
        version: digest of everything that a decision depends on.
    """

    grants: tuple[Rule, ...]
    denials: tuple[Rule, ...]
    version: str


def make_rule(name: str, roles: Sequence[str], models: Sequence[str] | None, actions: Sequence[str]) -> Rule:
    """The rule of one table of the settings; models None means all (server actions)."""
    patterns = ("*",) if models is None else tuple(models)
    return Rule(
        name,
        frozenset(roles),
        frozenset(pattern for pattern in patterns if not pattern.endswith("*")),
        tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*")),
        frozenset(str(action) for action in actions),
    )


def make_policy(
    grants: Sequence[Rule], denials: Sequence[Rule], roles: Mapping[str, Sequence[str]], hook_digest: str = ""
) -> Policy:
    """The policy and its version.

    Args:
        roles: role → members, for the version: who has a role is part of what a decision depends on.
        hook_digest: of the user's own function, or empty.
    """
    facts = msgspec.json.encode(
        [
            [[rule.name, rule.roles, rule.exact, rule.prefixes, rule.actions] for rule in (*grants, *denials)],
            {role: list(members) for role, members in roles.items()},
            hook_digest,
        ],
        order="deterministic",
    )
    # 16 hex digits: 64 bits name a policy among those of one installation; nobody is kept out by them.
    return Policy(tuple(grants), tuple(denials), hashlib.sha256(facts).hexdigest()[:16])


def model_pattern_mistake(pattern: str) -> str:
    """Why a text can't name models, or empty."""
    if not pattern:
        return "a model name is empty; name a model, or say * for all"
    if "*" in pattern[:-1]:
        return f"{pattern!r} has a * that is not its last character; write a name, name*, or *"
    if any(character in pattern for character in "?[]"):
        return f"{pattern!r} has ? or [], which mean nothing here; write a name, name*, or *"
    return ""
