"""Questions to the policy away from any server: a person's own cases in a file, each with the answer it should have."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from torchgate.access.names import RoleName
from torchgate.access.policy.authorise import Authorisation
from torchgate.access.policy.decide import Question
from torchgate.access.policy.explain import Explanation, explain
from torchgate.access.policy.hook import HookRunner
from torchgate.access.policy.roles import parse_member
from torchgate.access.policy.rules import Policy
from torchgate.contract.decision import Action, Decision, RequestFacts, Resource
from torchgate.contract.principal import Principal
from torchgate.contract.settings_file import Settings, nearest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS = range(1972, 9000)  # of which days and hours can be told in any time zone


def action_of(text: str) -> Action:
    """The action of a name.

    Raises:
        ValueError: there is none.
    """
    known = [str(action) for action in Action]
    if text not in known:
        raise ValueError(f"{text!r} is not an action. {nearest(text, known)}")
    return Action(text)


def moment_of(text: str) -> float:
    """Unix seconds of a date and time with its offset.

    Raises:
        ValueError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.year not in _YEARS:
        raise ValueError(f"{text!r} is no moment; write date, time and offset: 2026-03-02T12:00:00+01:00")
    return (moment - _EPOCH).total_seconds()


def _action(text: str) -> str:
    return str(action_of(text))


def _moment(text: str) -> str:
    moment_of(text)
    return text


def _member(text: str) -> str:
    parse_member(text)
    return text


class CaseSettings(Settings):
    """One question and its right answer (`[[cases]]`)."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """What it shows, in words."""
    roles: tuple[RoleName, ...] | None = None
    """Roles of who asks; `[]` for somebody without any."""
    members: tuple[Annotated[str, AfterValidator(_member)], ...] | None = None
    """What is known of who asks, each as a member of `[roles]` is written, e.g. `entra:role:Analyst`, `key:ops`."""
    groups_known: bool = True
    """Whether all groups of who asks are known; if not, denials on roles with groups count."""
    action: Annotated[str, AfterValidator(_action)]
    """What is asked: `infer`, `read`, `load` …"""
    model: str = ""
    """On which model; left out for the server."""
    version: str = ""
    """On which version; left out for the one that a request without a version gets."""
    at: Annotated[str, AfterValidator(_moment)] | None = None
    """When: date, time and offset; left out for now."""
    rows: Annotated[int, Field(ge=0)] | None = None
    """Rows of the request; with `bytes`, what its body tells."""
    bytes: Annotated[int, Field(ge=0)] | None = None
    """Bytes of its body."""
    expect: Literal["allow", "deny"]
    """The right answer."""
    rule: str | None = None
    """The rule that gives it: `policy.grants[0]`, `policy.denials[1]`, `default deny`, `hook` …; left out for any."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> CaseSettings:
        if (self.roles is None) == (self.members is None):
            raise ValueError("say who asks: either roles or members")
        return self


class CasesSettings(Settings):
    """A file of cases."""

    cases: Annotated[tuple[CaseSettings, ...], Field(min_length=1)]
    """All of them."""


class Asked(msgspec.Struct, frozen=True):
    """One question.

    Args:
        principal: with its roles.
        at: Unix seconds.
        facts: of the request; None where nothing is said of its body.
    """

    principal: Principal
    action: Action
    resource: Resource
    at: float
    facts: RequestFacts | None = None


class Answered(msgspec.Struct, frozen=True):
    """Its answer, as a server would give it.

    Args:
        decision: of rules and hook, at the door and, where there are facts, after decoding.
        explanation: of the rules.
        hook: what the hook said, each time that it was asked.
    """

    decision: Decision
    explanation: Explanation
    hook: tuple[Decision, ...] = ()

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        yield from self.explanation.lines()
        for answer in self.hook:
            yield f"  the hook {'allows' if answer.allowed else 'denies'}: {answer.reason}"
        if self.hook:
            yield f"{'allowed' if self.decision.allowed else 'denied'} by {self.decision.rule}"


async def answer(policy: Policy, hook: HookRunner | None, asked: Asked) -> Answered:
    """What a server with this policy would answer; the hook is really asked."""
    authorisation = Authorisation(policy, hook, lambda: asked.at)
    principal, action, resource = asked.principal, asked.action, asked.resource
    decisions = [await authorisation.authorise(principal, action, resource)]
    if asked.facts is not None and decisions[0].allowed:
        decisions.append(await authorisation.authorise(principal, action, resource, asked.facts))
    question = Question(principal.roles, principal.denied_roles, action, resource, asked.at, asked.facts)
    explanation = explain(policy, question, has_hook=hook is not None)
    asked_hook = hook is not None and not explanation.is_denied_finally
    return Answered(decisions[-1], explanation, tuple(decisions) if asked_hook else ())


def facts_of(rows: int | None, body_bytes: int | None) -> RequestFacts | None:
    """What is said of a body; None where nothing is."""
    return None if rows is None and body_bytes is None else RequestFacts(rows or 0, body_bytes or 0)


def mismatch(case: CaseSettings, decision: Decision) -> str:
    """What is wrong with an answer; empty: nothing."""
    verdict = "allow" if decision.allowed else "deny"
    if verdict != case.expect:
        return f"expected {case.expect}, and it is {verdict}"
    if case.rule is not None and case.rule != decision.rule:
        return f"expected {case.expect} by {case.rule}, and it is by {decision.rule}"
    return ""
