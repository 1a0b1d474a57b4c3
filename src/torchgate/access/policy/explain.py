"""Why a decision is as it is: every rule, in order, and whether it speaks of the question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from torchgate.access.policy.decide import Question, decide
from torchgate.access.policy.rules import FactLimits, Policy, Rule, subject_of
from torchgate.access.policy.time_window import DAYS, TimeWindow
from torchgate.contract.decision import Decision

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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

    @property
    def is_denied_finally(self) -> bool:
        """Whether a denial decided, so that no hook is asked."""
        return any(reading.applies and reading.rule.startswith("policy.denials") for reading in self.readings)

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        verdict = "allowed" if self.decision.allowed else "denied"
        yield f"{verdict} by {self.decision.rule}: {self.decision.reason} (policy {self.decision.policy_version})"
        for reading in self.readings:
            yield f"  {'applies' if reading.applies else 'does not apply'}: {reading.rule}: {reading.reason}"
        if self.has_hook and not self.is_denied_finally:
            yield "  then the hook (policy.hook) is asked, and its answer is the decision"


def explain(policy: Policy, question: Question, *, has_hook: bool = False) -> Explanation:
    """The decision for a principal with these roles, and how each rule reads the question; denials first."""
    readings = tuple(_reading(rule, question) for rule in (*policy.denials, *policy.grants))
    return Explanation(decide(policy, question), readings, has_hook)


def _reading(rule: Rule, question: Question) -> RuleReading:
    held = sorted(rule.roles & (question.any_roles if rule.is_denial else question.roles))
    why_not = _other_subject(rule, question, held) or _other_condition(rule, question)
    if why_not:
        return RuleReading(rule.name, False, why_not)
    limits = rule.conditions.limits
    later = f", if it has {_limits(limits)}" if limits is not None and question.facts is None else ""
    return RuleReading(rule.name, True, f"role {_listed(held)}, action {question.action}{later}")


def _other_subject(rule: Rule, question: Question, held: Sequence[str]) -> str:
    """Why it is about another who or what; empty if it is not."""
    name, version = subject_of(question.resource)
    if not held:
        return f"it is about {_listed(sorted(rule.roles))}, not about these roles"
    if not rule.is_about_action(question.action):
        return f"it is about {_listed(sorted(rule.actions))}, not about {question.action}"
    if not rule.is_about_model(name):
        models = sorted([*rule.exact, *(f"{prefix}*" for prefix in rule.prefixes)])
        asked = "the server" if name is None else f"model {name!r}"
        return f"it is about {_listed(models)}, not about {asked}"
    if not rule.is_about_version(version):
        asked = "all of them, or of one that is not named" if version is None else f"version {version}"
        return f"it is about {_listed(sorted(rule.conditions.versions))} of the versions, not about {asked}"
    return ""


def _other_condition(rule: Rule, question: Question) -> str:
    """Why it is about another time, or another request; empty if it is not."""
    window, limits = rule.conditions.window, rule.conditions.limits
    if window is not None and not rule.is_open(question.at):
        return f"it counts {shown_window(window)}, and it is {_moment(question.at, window)}"
    if limits is not None and not limits.hold(question.facts):
        facts = question.facts
        has = (
            "that is known only when it is read"
            if facts is None
            else f"it has {facts.rows} rows and {facts.body_bytes} bytes"
        )
        return f"it is about a request of {_limits(limits)}; {has}"
    return ""


def shown_window(window: TimeWindow) -> str:
    """A window in words."""
    parts = []
    if window.zone is not None:
        days = "daily" if len(window.days) == len(DAYS) else _listed([DAYS[day] for day in sorted(window.days)])
        hours = _listed([f"{_clock(start)}-{_clock(end)}" for start, end in window.hours])
        parts.append(f"{days} {hours} {window.zone.key}")
    if window.opens_at > float("-inf"):
        parts.append(f"from {_moment(window.opens_at, window)}")
    if window.closes_at < float("inf"):
        parts.append(f"until {_moment(window.closes_at, window)}")
    return " ".join(parts)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _moment(at: float, window: TimeWindow) -> str:
    moment = (_EPOCH + timedelta(seconds=at)).astimezone(window.zone or UTC)
    return f"{DAYS[moment.weekday()]} {moment.isoformat(timespec='seconds')}"


def _limits(limits: FactLimits) -> str:
    word = "more than" if limits.is_above else "at most"
    known = ((limits.rows, "rows"), (limits.body_bytes, "bytes"))
    shown = [f"{limit} {unit}" for limit, unit in known if limit is not None]
    return f"{word} {(' or ' if limits.is_above else ' and ').join(shown)}"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)
