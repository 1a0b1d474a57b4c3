"""The truth table of the rules, and the same rules against a second, slower reading of them."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchgate.access.policy.decide import BUILT_IN_RULE, DEFAULT_DENY, Question, decide
from torchgate.access.policy.explain import explain
from torchgate.access.policy.rules import Policy, Rule, make_policy, make_rule, model_pattern_mistake
from torchgate.contract.decision import Action, Decision, ModelRef, Resource

POLICY = make_policy(
    grants=[
        make_rule("policy.grants[0]", ["analyst"], ["sentiment", "digits"], ["infer", "read"]),
        make_rule("policy.grants[1]", ["team"], ["team-*"], ["infer"]),
        make_rule("policy.grants[2]", ["scraper"], None, ["metrics"]),
        make_rule("policy.grants[3]", ["boss"], ["*"], ["*"]),
    ],
    denials=[
        make_rule("policy.denials[0]", ["intern"], ["digits"], ["infer"], is_denial=True),
        make_rule("policy.denials[1]", ["barred"], ["*"], ["*"], is_denial=True),
    ],
    roles={},
)


def model(name: str) -> Resource:
    return Resource(ModelRef(name, "1"))


def ask(roles: str, action: Action, resource: Resource, denied: str = "") -> Decision:
    return decide(POLICY, Question(frozenset(roles.split()), frozenset(denied.split()), action, resource, at=0.0))


SERVER = Resource()
TABLE: list[tuple[str, Action, Resource, str]] = [
    ("analyst", Action.INFER, model("digits"), "policy.grants[0]"),
    ("analyst", Action.READ, model("digits"), "policy.grants[0]"),
    ("analyst", Action.INFER, model("Digits"), DEFAULT_DENY),
    ("analyst", Action.INFER, model("digits "), DEFAULT_DENY),
    ("analyst", Action.INFER, model("digit"), DEFAULT_DENY),
    ("analyst", Action.INFER, model("digits2"), DEFAULT_DENY),
    ("analyst", Action.INFER, model("*"), DEFAULT_DENY),
    ("analyst", Action.LOAD, model("digits"), DEFAULT_DENY),
    ("analyst", Action.UNLOAD, model("digits"), DEFAULT_DENY),
    ("analyst", Action.ADMIN, SERVER, DEFAULT_DENY),
    ("analyst", Action.METRICS, SERVER, DEFAULT_DENY),
    ("analyst", Action.READ, SERVER, DEFAULT_DENY),
    ("", Action.INFER, model("digits"), DEFAULT_DENY),
    ("nobody", Action.INFER, model("digits"), DEFAULT_DENY),
    ("team", Action.INFER, model("team-a"), "policy.grants[1]"),
    ("team", Action.INFER, model("team-"), "policy.grants[1]"),
    ("team", Action.INFER, model("team"), DEFAULT_DENY),
    ("team", Action.INFER, model("Team-a"), DEFAULT_DENY),
    ("team", Action.INFER, SERVER, DEFAULT_DENY),
    ("scraper", Action.METRICS, SERVER, "policy.grants[2]"),
    ("scraper", Action.INFER, model("digits"), DEFAULT_DENY),
    ("boss", Action.INFER, model("anything"), "policy.grants[3]"),
    ("boss", Action.ADMIN, SERVER, "policy.grants[3]"),
    ("boss", Action.READ, SERVER, "policy.grants[3]"),
    ("analyst intern", Action.INFER, model("digits"), "policy.denials[0]"),
    ("analyst intern", Action.READ, model("digits"), "policy.grants[0]"),
    ("analyst intern", Action.INFER, model("sentiment"), "policy.grants[0]"),
    ("boss barred", Action.INFER, model("digits"), "policy.denials[1]"),
    ("boss barred", Action.ADMIN, SERVER, "policy.denials[1]"),
    ("", Action.IDENTIFY, SERVER, BUILT_IN_RULE),
    ("", Action.DESCRIBE, SERVER, BUILT_IN_RULE),
    ("", Action.CANCEL, SERVER, BUILT_IN_RULE),
    ("barred", Action.IDENTIFY, SERVER, "policy.denials[1]"),
]


@pytest.mark.parametrize(("roles", "action", "resource", "rule"), TABLE)
def test_the_table(roles: str, action: Action, resource: Resource, rule: str) -> None:
    decision = ask(roles, action, resource)
    assert decision.rule == rule
    assert decision.allowed == (rule.startswith("policy.grants") or rule == BUILT_IN_RULE)
    assert decision.policy_version == POLICY.version
    assert decision.reason


def test_roles_that_count_for_denials_alone_never_grant() -> None:
    """Deny-only groups, and groups that nobody knows."""
    assert ask("", Action.INFER, model("digits"), denied="analyst").rule == DEFAULT_DENY
    assert ask("analyst", Action.INFER, model("digits"), denied="intern").rule == "policy.denials[0]"


@pytest.mark.parametrize(
    ("roles", "name", "is_covered"),
    [
        ("boss", "unknown", True),
        ("analyst", "digits", True),
        ("analyst", "unknown", False),
        ("team", "team-x", True),
        ("scraper", "unknown", False),
        ("boss barred", "unknown", False),
        ("", "unknown", False),
    ],
)
def test_only_who_may_use_the_name_learns_that_no_model_has_it(roles: str, name: str, is_covered: bool) -> None:
    """The attacker tries names to learn which models exist: 403 for all of them, existing or not."""
    decision = ask(roles, Action.INFER, Resource(name=name))
    assert decision.covers_name is is_covered
    exists = ask(roles, Action.INFER, model(name))
    assert (decision.allowed, decision.rule, decision.covers_name) == (exists.allowed, exists.rule, exists.covers_name)


def test_who_may_only_read_a_name_learns_it_too() -> None:
    policy = make_policy([make_rule("policy.grants[0]", ["reader"], ["*"], ["read"])], [], {})
    decision = decide(
        policy, Question(frozenset({"reader"}), frozenset(), Action.INFER, Resource(name="unknown"), at=0.0)
    )
    assert not decision.allowed
    assert decision.covers_name


def test_the_version_changes_with_everything_that_a_decision_depends_on() -> None:
    rule = make_rule("policy.grants[0]", ["a"], ["m"], ["infer"])
    versions = {
        make_policy([rule], [], {}).version,
        make_policy([rule, rule], [], {}).version,
        make_policy([make_rule("policy.grants[0]", ["b"], ["m"], ["infer"])], [], {}).version,
        make_policy([make_rule("policy.grants[0]", ["a"], ["m*"], ["infer"])], [], {}).version,
        make_policy([make_rule("policy.denials[0]", ["a"], ["m"], ["infer"])], [], {}).version,
        make_policy([rule], [], {"a": ["key:x"]}).version,
        make_policy([rule], [], {"a": ["key:y"]}).version,
        make_policy([rule], [], {}, "hook digest").version,
    }
    assert len(versions) == 8
    assert make_policy([rule], [], {}).version in versions


@pytest.mark.parametrize("pattern", ["", "a*b", "**", "*a", "a?", "[ab]", "a]"])
def test_a_pattern_that_would_mean_something_else_is_a_mistake(pattern: str) -> None:
    assert model_pattern_mistake(pattern)


NAMES = st.sampled_from(["a", "ab", "abc", "A", "b"])
PATTERNS = st.sampled_from(["*", "a", "a*", "ab*", "abc", "b"])
ROLES = st.sets(st.sampled_from(["r", "s", "t"]), max_size=3)
ACTIONS = st.sampled_from([Action.INFER, Action.READ, Action.METRICS, Action.IDENTIFY])
RULES = st.lists(
    st.tuples(
        ROLES.filter(bool),
        st.lists(PATTERNS, min_size=1, max_size=2),
        st.lists(st.sampled_from(["infer", "read", "metrics", "*"]), min_size=1, max_size=2),
    ),
    max_size=4,
)
RawRules = list[tuple[set[str], list[str], list[str]]]


def oracle(
    grants: RawRules, denials: RawRules, held: set[str], denied: set[str], action: str, name: str | None
) -> bool:
    """The rules as the documentation says them, with regular expressions and no shortcuts."""

    def speaks(rule: tuple[set[str], list[str], list[str]], roles: set[str]) -> bool:
        about = name is not None and any(re.fullmatch(fnmatch.translate(p), name) for p in rule[1])
        about = about or (name is None and "*" in rule[1])
        return bool(rule[0] & roles) and about and ("*" in rule[2] or action in rule[2])

    if any(speaks(rule, held | denied) for rule in denials):
        return False
    return any(speaks(rule, held) for rule in grants) or action in {"identify", "describe"}


def rules(kind: str, raw: RawRules) -> list[Rule]:
    return [
        make_rule(f"policy.{kind}[{i}]", sorted(r), models, actions, is_denial=kind == "denials")
        for i, (r, models, actions) in enumerate(raw)
    ]


@given(RULES, RULES, ROLES, ROLES, ACTIONS, st.none() | NAMES)
def test_decisions_agree_with_a_plain_reading_of_the_rules(
    grants: RawRules, denials: RawRules, held: set[str], denied: set[str], action: Action, name: str | None
) -> None:
    policy: Policy = make_policy(rules("grants", grants), rules("denials", denials), {})
    resource = Resource() if name is None else model(name)
    question = Question(frozenset(held), frozenset(denied), action, resource, at=0.0)
    decision = decide(policy, question)
    assert decision.allowed == oracle(grants, denials, held, denied, str(action), name)
    explanation = explain(policy, question)
    assert explanation.decision == decision
    applying = [reading.rule for reading in explanation.readings if reading.applies]
    if decision.rule.startswith("policy."):
        assert applying[0] == decision.rule
    else:
        assert not applying


def test_an_explanation_says_why_each_rule_does_or_does_not_apply() -> None:
    analyst = frozenset({"analyst"})
    load = Question(analyst, frozenset(), Action.LOAD, model("digits"), at=0.0)
    explanation = explain(POLICY, load, has_hook=True)
    lines = list(explanation.lines())
    assert lines[0].startswith("denied by default deny: ")
    assert "  does not apply: policy.grants[0]: it is about infer, read, not about load" in lines
    assert "  does not apply: policy.denials[0]: it is about intern, not about these roles" in lines
    assert "hook" in lines[-1]
    other = explain(POLICY, Question(analyst, frozenset(), Action.INFER, model("other"), at=0.0))
    assert "  does not apply: policy.grants[0]: it is about digits, sentiment, not about model 'other'" in other.lines()
    barred = Question(frozenset({"barred"}), frozenset(), Action.INFER, model("x"), at=0.0)
    final = explain(POLICY, barred, has_hook=True)
    assert "hook" not in list(final.lines())[-1], "a denial is final: the hook is not asked"
