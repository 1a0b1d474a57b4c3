"""Rules by version, time, rows and bytes: what they say, and that remembering decisions never changes one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.access.local_issuer import Clock

from torchgate.access.policy.authorise import Authorisation
from torchgate.access.policy.decide import DEFAULT_DENY, Question, decide
from torchgate.access.policy.explain import explain
from torchgate.access.policy.rules import Conditions, FactLimits, Policy, Rule, make_policy, make_rule
from torchgate.access.policy.time_window import TimeWindow, make_window
from torchgate.contract.decision import Action, Decision, ModelRef, RequestFacts, Resource
from torchgate.contract.principal import Principal

MONDAY_NOON = 1_772_449_200.0  # 2026-03-02T11:00:00Z, 12:00 in Berlin
ROLE = frozenset({"r"})
NOBODY = frozenset[str]()
SMALL = FactLimits(10, None, is_above=False)
LARGE = FactLimits(10, 1000, is_above=True)
ONE = Conditions(frozenset({"1"}))


def grant(place: int = 0, conditions: Conditions = ONE, action: str = "infer", model: str = "digits") -> Rule:
    return make_rule(f"policy.grants[{place}]", ["r"], [model], [action], conditions)


def denial(place: int = 0, conditions: Conditions = ONE, action: str = "infer", model: str = "digits") -> Rule:
    return make_rule(f"policy.denials[{place}]", ["r"], [model], [action], conditions, is_denial=True)


def ask(
    policy: Policy, resource: Resource, action: Action = Action.INFER, facts: RequestFacts | None = None
) -> Decision:
    return decide(policy, Question(ROLE, NOBODY, action, resource, MONDAY_NOON, facts))


def version(number: str) -> Resource:
    return Resource(ModelRef("digits", number))


def test_a_grant_of_a_version_is_about_no_other() -> None:
    policy = make_policy([grant()], [], {})
    assert ask(policy, version("1")).allowed
    for other in ("2", "10", "01", "1 ", ""):
        assert ask(policy, version(other)).rule == DEFAULT_DENY, other


def test_versions_that_exist_not_are_forbidden_as_those_that_do() -> None:
    """The attacker has a right on version 1 and tries others to learn which there are."""
    policy = make_policy([grant()], [], {})
    exists, not_there = ask(policy, version("2")), ask(policy, Resource(name="digits", version="2"))
    assert (exists.allowed, exists.covers_name) == (not_there.allowed, not_there.covers_name) == (False, False)
    assert not ask(policy, Resource(name="digits")).covers_name, "of a bare name nobody knows the version"
    assert ask(policy, Resource(name="digits", version="1")).covers_name


@pytest.mark.parametrize("action", [Action.LOAD, Action.UNLOAD])
def test_a_bare_name_that_means_all_versions_needs_a_right_on_all(action: Action) -> None:
    """The attacker may load version 1, and asks for a load of the model whose default it is."""
    policy = make_policy([grant(action=action)], [], {})
    assert ask(policy, version("1"), action).allowed
    everything = Resource(ModelRef("digits", "1"), is_every_version=True)
    assert not ask(policy, everything, action).allowed
    barred = make_policy([grant(conditions=Conditions(), action=action)], [denial(action=action)], {})
    assert not ask(barred, everything, action).allowed, "a denial of one of them is enough"
    assert ask(barred, version("2"), action).allowed


def test_a_denial_of_versions_says_nothing_of_the_server() -> None:
    policy = make_policy([], [denial(action="*", model="*")], {})
    assert ask(policy, Resource(), Action.IDENTIFY).allowed
    assert not ask(policy, version("1"), Action.READ).allowed


def test_a_grant_by_rows_is_possible_at_the_door_and_decided_by_the_body() -> None:
    policy = make_policy([grant(0, Conditions(limits=SMALL))], [], {})
    assert ask(policy, version("1")).allowed
    assert "before its body is read" in ask(policy, version("1")).reason
    assert ask(policy, version("1"), facts=RequestFacts(10, 999_999)).allowed
    assert ask(policy, version("1"), facts=RequestFacts(11, 1)).rule == DEFAULT_DENY


def test_another_grant_may_take_what_the_first_does_not() -> None:
    policy = make_policy([grant(0, Conditions(limits=SMALL)), grant(1, Conditions())], [], {})
    assert ask(policy, version("1"), facts=RequestFacts(10, 1)).rule == "policy.grants[0]"
    assert ask(policy, version("1"), facts=RequestFacts(11, 1)).rule == "policy.grants[1]"


@pytest.mark.parametrize(
    ("facts", "allowed"),
    [(None, True), (RequestFacts(10, 1000), True), (RequestFacts(11, 1), False), (RequestFacts(1, 1001), False)],
)
def test_a_denial_of_large_requests_waits_for_the_body(facts: RequestFacts | None, allowed: bool) -> None:
    policy = make_policy([grant(0, Conditions())], [denial(0, Conditions(limits=LARGE))], {})
    assert ask(policy, version("1"), facts=facts).allowed is allowed


def test_an_explanation_says_which_condition_is_not_met() -> None:
    office = make_window(["sat"], ["08:00-18:00"], "Europe/Berlin", None, None)
    policy = make_policy(
        [
            grant(0, ONE),
            grant(1, Conditions(window=office)),
            grant(2, Conditions(limits=SMALL)),
            grant(3, Conditions(window=make_window(None, None, None, "2027-01-01T00:00:00Z", None))),
        ],
        [denial(0, Conditions(limits=LARGE))],
        {},
    )
    question = Question(ROLE, NOBODY, Action.INFER, version("2"), MONDAY_NOON, RequestFacts(11, 5))
    reasons = [reading.reason for reading in explain(policy, question).readings]
    assert reasons == [
        "role r, action infer",
        "it is about 1 of the versions, not about version 2",
        "it counts sat 08:00-18:00 Europe/Berlin, and it is mon 2026-03-02T12:00:00+01:00",
        "it is about a request of at most 10 rows; it has 11 rows and 5 bytes",
        "it counts from fri 2027-01-01T00:00:00+00:00, and it is mon 2026-03-02T11:00:00+00:00",
    ]
    at_the_door = explain(policy, Question(ROLE, NOBODY, Action.INFER, version("2"), MONDAY_NOON))
    assert at_the_door.decision.rule == "policy.grants[2]"
    assert [reading.reason for reading in at_the_door.readings if reading.applies] == [
        "role r, action infer, if it has at most 10 rows"
    ]


def test_the_version_of_the_policy_changes_with_each_condition() -> None:
    narrowed = [
        Conditions(),
        ONE,
        Conditions(frozenset({"2"})),
        Conditions(window=TimeWindow(closes_at=5.0)),
        Conditions(window=TimeWindow(opens_at=5.0)),
        Conditions(window=make_window(["mon"], None, "UTC", None, None)),
        Conditions(window=make_window(["mon"], None, "Europe/Berlin", None, None)),
        Conditions(window=make_window(None, ["00:00-12:00"], "UTC", None, None)),
        Conditions(limits=SMALL),
        Conditions(limits=FactLimits(None, 10, is_above=False)),
        Conditions(limits=LARGE),
    ]
    assert len({make_policy([grant(0, one)], [], {}).version for one in narrowed}) == len(narrowed)


def test_what_is_remembered_ends_at_the_edge_and_not_a_moment_later() -> None:
    clock = Clock(MONDAY_NOON)
    window = TimeWindow(opens_at=MONDAY_NOON - 10.25, closes_at=MONDAY_NOON + 10.25)
    authorisation = Authorisation(make_policy([grant(0, Conditions(window=window))], [], {}), None, clock)
    principal = Principal("k", "n", "api_key", "key", roles=ROLE)
    for later_s, allowed in ((0.0, True), (10.0, True), (10.25, False), (9.0, True), (-10.5, False), (-10.25, True)):
        clock.at = MONDAY_NOON + later_s
        assert authorisation.decide(principal, Action.INFER, version("1")).allowed is allowed, later_s


def test_decisions_of_rules_without_time_are_remembered_for_good() -> None:
    policy = make_policy([grant()], [], {})
    assert policy.steady_span(MONDAY_NOON) == (-math.inf, math.inf)


VERSIONS = st.sampled_from([frozenset[str](), frozenset({"1"}), frozenset({"1", "2"})])
WINDOWS = st.sampled_from(
    [
        None,
        make_window(["mon"], ["11:00-12:01"], "Europe/Berlin", None, None),
        make_window(None, ["23:00-12:02"], "Europe/Berlin", None, None),
        TimeWindow(opens_at=MONDAY_NOON + 30.5, closes_at=MONDAY_NOON + 90.25),
    ]
)
GRANT_LIMITS = st.sampled_from([None, SMALL, FactLimits(3, 500, is_above=False)])
DENIAL_LIMITS = st.sampled_from([None, LARGE, FactLimits(None, 100, is_above=True)])
ROLE_SETS = st.sampled_from([NOBODY, frozenset({"r"}), frozenset({"s"}), frozenset({"r", "s"})])
SOME_ROLES = st.sampled_from([frozenset({"r"}), frozenset({"s"}), frozenset({"r", "s"})])
EVERY_RESOURCE = [
    Resource(),
    Resource(ModelRef("m", "1")),
    Resource(ModelRef("m", "2")),
    Resource(ModelRef("m", "1"), is_every_version=True),
    Resource(name="m"),
    Resource(name="m", version="2"),
]
RESOURCES = st.sampled_from(EVERY_RESOURCE)
KNOWN_FACTS = st.builds(RequestFacts, st.integers(1, 12), st.integers(0, 1200))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    def some(kind: str, limits: st.SearchStrategy[FactLimits | None]) -> list[Rule]:
        return [
            make_rule(
                f"policy.{kind}[{place}]",
                sorted(draw(SOME_ROLES)),
                [draw(st.sampled_from(["m", "*"]))],
                [draw(st.sampled_from(["infer", "read", "load", "*"]))],
                Conditions(draw(VERSIONS), draw(WINDOWS), draw(limits)),
                is_denial=kind == "denials",
            )
            for place in range(draw(st.integers(0, 3)))
        ]

    return make_policy(some("grants", GRANT_LIMITS), some("denials", DENIAL_LIMITS), {})


JUMPS_S = st.lists(
    st.sampled_from([-86_400.0, -61.0, -30.5, -0.25, 0.25, 29.75, 30.5, 59.75, 60.0, 3600.0]), min_size=1, max_size=5
)
EVERY_QUESTION = [
    (roles, denied, action, resource)
    for roles in (NOBODY, ROLE, frozenset({"r", "s"}))
    for denied in (NOBODY, frozenset({"s"}))
    for action in (Action.INFER, Action.LOAD, Action.IDENTIFY)
    for resource in EVERY_RESOURCE
]


@pytest.mark.identity_case("policy", "the same question before and after a right's hours", "decided anew")
@settings(deadline=None, max_examples=60)  # each asks some hundred questions
@given(policies(), JUMPS_S)
def test_remembered_decisions_are_those_of_the_rules_whatever_the_clock_does(
    policy: Policy, jumps_s: list[float]
) -> None:
    """One server, asked everything again and again while its clock goes on, jumps and is set back."""
    clock = Clock(MONDAY_NOON)
    authorisation = Authorisation(policy, None, clock)
    for jump_s in (0.0, *jumps_s):
        clock.at += jump_s
        for roles, denied, action, resource in EVERY_QUESTION:
            principal = Principal("k", "n", "api_key", "key", roles=roles, denied_roles=denied)
            for facts in (None, RequestFacts(10, 400), RequestFacts(11, 1001), RequestFacts(3, 90), None):
                remembered = authorisation.decide(principal, action, resource, facts)
                assert remembered == decide(policy, Question(roles, denied, action, resource, clock.at, facts))


@given(policies(), ROLE_SETS, RESOURCES, KNOWN_FACTS)
def test_what_the_body_may_allow_is_never_refused_at_the_door(
    policy: Policy, roles: frozenset[str], resource: Resource, facts: RequestFacts
) -> None:
    """And the door alone never decides for good: what it lets in is asked again with facts."""
    with_facts = decide(policy, Question(roles, NOBODY, Action.INFER, resource, MONDAY_NOON, facts))
    at_the_door = decide(policy, Question(roles, NOBODY, Action.INFER, resource, MONDAY_NOON))
    assert at_the_door.allowed or not with_facts.allowed
