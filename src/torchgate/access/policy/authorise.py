"""May they: the rules, and after them the user's own function."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from torchgate.access.policy.decide import Question, decide, weighing_facts
from torchgate.access.policy.hook import HookFailure, HookRunner
from torchgate.access.policy.rules import Policy, Rule
from torchgate.contract.decision import Action, Decision, RequestFacts, Resource
from torchgate.contract.policy_hook import PolicyContext
from torchgate.contract.principal import Principal

HOOK_RULE = "hook"
_MAX_CACHED = 10_000  # decisions: those of one installation are far fewer
_log = logging.getLogger("torchgate.access")


class _Settled(msgspec.Struct, frozen=True):
    """What is remembered of a question.

    Args:
        decision: without facts.
        weighing: the rules that facts may still turn; None where they turn none.
        weighed: those of them that speak of the action, denials first; the first that holds for some facts decides.
        by_rule: decisions with facts, by the name of the rule that decided: no other fact is in them.
    """

    decision: Decision
    weighing: Policy | None
    weighed: tuple[Rule, ...] = ()
    by_rule: dict[str, Decision] = msgspec.field(default_factory=dict)


class Authorisation:
    """Decides whether a principal may do an action on a resource.

    Args:
        policy: the rules.
        hook: runs the user's function, or None.
        wall_clock: Unix seconds, for rules that count at some times only, and for the function.

    Thread/process: one event loop.
    """

    def __init__(self, policy: Policy, hook: HookRunner | None, wall_clock: Callable[[], float]) -> None:
        self._policy = policy
        self._hook = hook
        self._wall_clock = wall_clock
        self._denials = frozenset(denial.name for denial in policy.denials)
        self._settled: dict[tuple[frozenset[str], frozenset[str], Action, Resource], _Settled] = {}
        self._steady = (math.inf, math.inf)  # what is remembered was decided in this span and holds in it

    @property
    def policy_version(self) -> str:
        """Digest of rules, roles and hook."""
        return self._policy.version

    @property
    def hook_origin(self) -> str:
        """Where the user's function came from, with the digest of its file; empty where there is none."""
        return "" if self._hook is None else self._hook.origin

    @property
    def is_degraded(self) -> bool:
        """Whether the user's function hangs so that everything is denied: the server shows amber."""
        return self._hook is not None and self._hook.is_degraded

    def inherit(self, former: Authorisation) -> None:
        """Take over the user's function where nothing of it has changed.

        So a change neither shakes off calls that hang, nor lets more threads hang than there may be.
        """
        if self._hook is not None and former._hook is not None and self._hook.is_like(former._hook):
            self._hook = former._hook

    def stop(self, *, heirs: Sequence[Authorisation] = ()) -> None:
        """Let the threads of the user's function end, unless an heir has taken it over."""
        if self._hook is not None and not any(heir._hook is self._hook for heir in heirs):
            self._hook.stop()

    def decide(
        self, principal: Principal, action: Action, resource: Resource, facts: RequestFacts | None = None
    ) -> Decision:
        """The decision of the rules alone, remembered.

        It depends on roles, action and resource, never on who; on the time, so that nothing is remembered beyond the
        moment at which a rule begins or ceases to count; and on facts, which are weighed anew for each request.
        """
        now = self._wall_clock() if self._policy.is_timed else 0.0
        if not self._steady[0] <= now < self._steady[1]:
            self._settled.clear()
            self._steady = self._policy.steady_span(now)
        key = (principal.roles, principal.denied_roles, action, resource)
        settled = self._settled.get(key)
        if settled is None:
            settled = self._settle(Question(*key, at=now))
        if facts is None or settled.weighing is None:
            return settled.decision
        winner = next((rule.name for rule in settled.weighed if rule.holds(facts)), "")
        decision = settled.by_rule.get(winner)
        if decision is None:
            decision = decide(settled.weighing, Question(*key, at=now, facts=facts))
            settled.by_rule[winner] = decision
        return decision

    async def authorise(
        self, principal: Principal, action: Action, resource: Resource, facts: RequestFacts | None = None
    ) -> Decision:
        """The decision, the user's function included; asked at the door without facts, after decoding with them.

        A denial of the rules is final: then the function is not asked. Otherwise its answer is the decision.
        """
        decision = self.decide(principal, action, resource, facts)
        if self._hook is None or decision.rule in self._denials:
            return decision
        context = PolicyContext(
            decision.rule if decision.allowed else None, facts, self._wall_clock(), self._policy.version
        )
        shown = msgspec.structs.replace(principal, claims=_frozen(principal.claims)) if principal.claims else principal
        try:
            answer = await self._hook.ask(shown, action, resource, context)
        except HookFailure as failure:
            _log.warning("Denied, because %s.", failure)
            return Decision(False, HOOK_RULE, f"{failure}.", self._policy.version)
        # A caller who may do this to a name that is no model's learns that it is none (404).
        return Decision(answer.allowed, HOOK_RULE, str(answer.reason), self._policy.version, answer.allowed)

    def _settle(self, question: Question) -> _Settled:
        weighing = weighing_facts(self._policy, question)
        rules = () if weighing is None else (*weighing.denials, *weighing.grants)
        weighed = tuple(rule for rule in rules if rule.is_about_action(question.action))
        settled = _Settled(decide(self._policy, question), weighing, weighed)
        resource = question.resource
        if resource.model is None and resource.name:
            return settled  # a name that is no model's: any caller can make up a million of them
        if len(self._settled) >= _MAX_CACHED:
            self._settled.pop(next(iter(self._settled)))
        self._settled[question.roles, question.denied_roles, question.action, resource] = settled
        return settled


def _frozen(claims: Mapping[str, object]) -> Mapping[str, object]:
    """Claims that the user's function can read and not change: the principal is remembered between requests."""
    return MappingProxyType({name: _frozen_value(value) for name, value in claims.items()})


def _frozen_value(found: object) -> object:
    if isinstance(found, dict):
        return _frozen(found)
    if isinstance(found, list):
        return tuple(_frozen_value(value) for value in found)
    return found
