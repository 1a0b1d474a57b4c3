"""Grants and denials as the policy holds them: each has a name by its place, and the whole has a version."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import msgspec

from torchgate.access.policy.time_window import EDGE_GRID_S, TimeWindow
from torchgate.contract.decision import Action, RequestFacts, Resource

SERVER_ACTIONS: frozenset[str] = frozenset(
    {Action.METRICS, Action.ADMIN, Action.IDENTIFY, Action.CANCEL, Action.DESCRIBE}
)
"""Actions that are asked of the server and not of a model (`admin`: of either)."""

BUILT_IN_ACTIONS: frozenset[str] = frozenset({Action.IDENTIFY, Action.CANCEL, Action.DESCRIBE})
"""What every authenticated principal may, unless a denial says otherwise: it is about themselves alone."""


class FactLimits(msgspec.Struct, frozen=True):
    """What a rule says of the decoded request: a grant of small requests, a denial of large ones.

    Args:
        rows, body_bytes: a grant speaks of requests with at most these, of a denial's limits more than one of these.
        is_above: of a denial.
    """

    rows: int | None
    body_bytes: int | None
    is_above: bool

    def hold(self, facts: RequestFacts | None) -> bool:
        """Whether the rule speaks of such a request; before its facts are known a grant may, a denial not yet."""
        if facts is None:
            return not self.is_above
        is_beyond = (self.rows is not None and facts.rows > self.rows) or (
            self.body_bytes is not None and facts.body_bytes > self.body_bytes
        )
        return is_beyond == self.is_above


class Conditions(msgspec.Struct, frozen=True):
    """What narrows a rule further than roles, models and actions.

    Args:
        versions: of the models, byte for byte; empty for all.
        window: when it counts; None for always.
        limits: on the decoded request; None for any.
    """

    versions: frozenset[str] = frozenset()
    window: TimeWindow | None = None
    limits: FactLimits | None = None


ALWAYS = Conditions()


class Rule(msgspec.Struct, frozen=True):
    """One grant or denial.

    Args:
        name: its place in the settings, e.g. `policy.grants[2]`.
        roles: whom it is about.
        exact, prefixes: model names, and beginnings of names (`*` is the empty beginning); byte for byte.
        actions: what it is about; all actions where `*` is among them.
        conditions: what narrows it further.
        is_denial: which of the two it is.
    """

    name: str
    roles: frozenset[str]
    exact: frozenset[str]
    prefixes: tuple[str, ...]
    actions: frozenset[str]
    conditions: Conditions = ALWAYS
    is_denial: bool = False

    def is_about_action(self, action: str) -> bool:
        """Whether it speaks of this action."""
        return action in self.actions or "*" in self.actions

    def is_about_model(self, name: str | None) -> bool:
        """Whether it speaks of this model; None is the server, which only `*` covers, and no rule about versions."""
        if name is None:
            return "" in self.prefixes and not self.conditions.versions
        return name in self.exact or (bool(self.prefixes) and name.startswith(self.prefixes))

    def is_about_version(self, version: str | None) -> bool:
        """Whether it speaks of this version; of one that is not settled (None) a denial of some does, a grant not."""
        versions = self.conditions.versions
        return not versions or (self.is_denial if version is None else version in versions)

    def is_open(self, at: float) -> bool:
        """Whether it counts at a moment (Unix seconds)."""
        window = self.conditions.window
        return window is None or window.is_open(at)

    def holds(self, facts: RequestFacts | None) -> bool:
        """Whether it speaks of a request with these facts (None: not known yet)."""
        limits = self.conditions.limits
        return limits is None or limits.hold(facts)


class Policy(msgspec.Struct, frozen=True):
    """The ordered whole of the rules.

    Args:
        version: digest of everything that a decision depends on.
        is_timed: whether some rule counts at some times only.
        edges: moments (Unix seconds) at which a rule begins or ceases to count, besides those on whole minutes.
    """

    grants: tuple[Rule, ...]
    denials: tuple[Rule, ...]
    version: str
    is_timed: bool = False
    edges: tuple[float, ...] = ()

    def steady_span(self, at: float) -> tuple[float, float]:
        """From when until when, around a moment, no rule begins or ceases to count (Unix seconds; until is outside)."""
        if not self.is_timed:
            return -math.inf, math.inf
        since = math.floor(at / EDGE_GRID_S) * EDGE_GRID_S
        until = since + EDGE_GRID_S
        since = max([since, *(edge for edge in self.edges if edge <= at)])
        return since, min([until, *(edge for edge in self.edges if edge > at)])


def subject_of(resource: Resource) -> tuple[str | None, str | None]:
    """Name and version that rules are compared with; None for the server, and for a version that is not settled."""
    if resource.model is None:
        return resource.name or None, resource.version or None
    return resource.model.name, None if resource.is_every_version else resource.model.version


def make_rule(
    name: str,
    roles: Sequence[str],
    models: Sequence[str] | None,
    actions: Sequence[str],
    conditions: Conditions = ALWAYS,
    *,
    is_denial: bool = False,
) -> Rule:
    """The rule of one table of the settings; models None means all (server actions)."""
    patterns = ("*",) if models is None else tuple(models)
    return Rule(
        name,
        frozenset(roles),
        frozenset(pattern for pattern in patterns if not pattern.endswith("*")),
        tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*")),
        frozenset(str(action) for action in actions),
        conditions,
        is_denial,
    )


def make_policy(
    grants: Sequence[Rule], denials: Sequence[Rule], roles: Mapping[str, Sequence[str]], hook_digest: str = ""
) -> Policy:
    """The policy and its version.

    Args:
        roles: role → members, for the version: who has a role is part of what a decision depends on.
        hook_digest: of the user's own function, or empty.
    """
    rules = (*grants, *denials)
    facts = msgspec.json.encode(
        [
            [_digested(rule) for rule in rules],
            {role: list(members) for role, members in roles.items()},
            hook_digest,
        ],
        order="deterministic",
    )
    windows = [rule.conditions.window for rule in rules if rule.conditions.window is not None]
    edges = {edge for window in windows for edge in (window.opens_at, window.closes_at) if math.isfinite(edge)}
    # 16 hex digits: 64 bits name a policy among those of one installation; nobody is kept out by them.
    version = hashlib.sha256(facts).hexdigest()[:16]
    return Policy(tuple(grants), tuple(denials), version, is_timed=bool(windows), edges=tuple(sorted(edges)))


def _digested(rule: Rule) -> list[object]:
    window = rule.conditions.window
    times: list[object] = []
    if window is not None:
        # Infinite moments have no form in JSON, so that all are texts.
        times = [window.days, window.hours, str(window.zone), repr(window.opens_at), repr(window.closes_at)]
    subject = [rule.name, rule.is_denial, rule.roles, rule.exact, rule.prefixes, rule.actions]
    return [*subject, rule.conditions.versions, rule.conditions.limits, times]


def model_pattern_mistake(pattern: str) -> str:
    """Why a text can't name models, or empty."""
    if not pattern:
        return "a model name is empty; name a model, or say * for all"
    if "*" in pattern[:-1]:
        return f"{pattern!r} has a * that is not its last character; write a name, name*, or *"
    if any(character in pattern for character in "?[]"):
        return f"{pattern!r} has ? or [], which mean nothing here; write a name, name*, or *"
    return ""
