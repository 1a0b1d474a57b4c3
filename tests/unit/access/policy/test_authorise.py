"""The rules and the user's own function together: nothing that the function does allows by accident."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.access.local_issuer import NOW, Clock

from torchgate.access.policy.authorise import Authorisation
from torchgate.access.policy.hook import HookRunner, load_hook
from torchgate.access.policy.rules import make_policy, make_rule
from torchgate.contract.decision import Action, Decision, ModelRef, RequestFacts, Resource
from torchgate.contract.policy_hook import PolicyContext
from torchgate.contract.principal import Principal

POLICY = make_policy(
    [make_rule("policy.grants[0]", ["analyst"], ["digits"], ["infer"])],
    [make_rule("policy.denials[0]", ["barred"], ["*"], ["*"], is_denial=True)],
    {},
)
DIGITS, OTHER = Resource(ModelRef("digits", "1")), Resource(ModelRef("other", "1"))
ANALYST = Principal(
    key="corp|x|ann", name="Ann", method="bearer", issuer="corp", roles=frozenset({"analyst"}), claims={"a": {"b": [1]}}
)
BARRED = Principal(key="k", name="n", method="api_key", issuer="key", roles=frozenset({"barred"}))


def authorisation(hook: Any = None, *, timeout_s: float = 30.0, threads: int = 2) -> Authorisation:
    runner = None if hook is None else HookRunner(hook, timeout_s=timeout_s, threads=threads)
    return Authorisation(POLICY, runner, Clock(NOW))


async def test_without_a_function_the_rules_decide() -> None:
    policy = authorisation()
    assert (await policy.authorise(ANALYST, Action.INFER, DIGITS)).allowed
    assert not (await policy.authorise(ANALYST, Action.INFER, OTHER)).allowed


def test_decisions_are_remembered_by_roles_action_and_resource() -> None:
    policy = authorisation()
    assert policy.decide(ANALYST, Action.INFER, DIGITS) is policy.decide(ANALYST, Action.INFER, DIGITS)
    assert policy.decide(BARRED, Action.INFER, DIGITS).rule == "policy.denials[0]"
    assert not policy.decide(ANALYST, Action.READ, DIGITS).allowed


def test_made_up_names_take_no_memory() -> None:
    """The attacker asks for a million models that do not exist."""
    policy = authorisation()
    for number in range(1000):
        policy.decide(ANALYST, Action.INFER, Resource(name=f"made-up-{number}"))
    assert len(policy._settled) == 0
    for number in range(11_000):
        policy.decide(ANALYST, Action.INFER, Resource(ModelRef("digits", str(number))))
    assert len(policy._settled) == 10_000


async def test_the_function_is_told_the_grant_and_the_facts_and_its_answer_is_the_decision() -> None:
    asked: list[tuple[str, Action, Resource, PolicyContext]] = []

    def authorize(principal: Principal, action: Action, resource: Resource, context: PolicyContext) -> Decision:
        asked.append((principal.key, action, resource, context))
        return context.deny("too many rows") if context.facts and context.facts.rows > 8 else context.allow("fine")

    policy = authorisation(authorize)
    door = await policy.authorise(ANALYST, Action.INFER, DIGITS)
    decoded = await policy.authorise(ANALYST, Action.INFER, DIGITS, RequestFacts(rows=9, body_bytes=100))
    beyond = await policy.authorise(ANALYST, Action.INFER, OTHER)
    assert [(d.allowed, d.rule, d.reason) for d in (door, decoded, beyond)] == [
        (True, "hook", "fine"),
        (False, "hook", "too many rows"),
        (True, "hook", "fine"),
    ]
    assert [(context.grant, context.facts) for *_, context in asked] == [
        ("policy.grants[0]", None),
        ("policy.grants[0]", RequestFacts(rows=9, body_bytes=100)),
        (None, None),
    ]
    assert asked[0][3].at == NOW
    assert door.policy_version == POLICY.version
    policy.stop()


async def test_a_denial_is_final() -> None:
    """The function would allow everything, and is not even asked."""

    def authorize(*_: object) -> Decision:
        raise AssertionError("asked")

    assert (await authorisation(authorize).authorise(BARRED, Action.INFER, DIGITS)).rule == "policy.denials[0]"


async def test_an_async_function_is_asked_in_a_loop_of_its_own() -> None:
    loops = set()

    async def authorize(*arguments: Any) -> Decision:
        loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return arguments[3].allow()

    policy = authorisation(authorize)
    answers = await asyncio.gather(*(policy.authorise(ANALYST, Action.INFER, DIGITS) for _ in range(20)))
    assert all(answer.allowed for answer in answers)
    assert len(loops) == 1
    assert asyncio.get_running_loop() not in loops
    policy.stop()


class _AlmostDecision:
    allowed = True


def _raises(*_: object) -> Decision:
    raise ValueError("secret detail")


def _exits(*_: object) -> Decision:
    raise SystemExit(0)


def _cancels(*_: object) -> Decision:
    raise asyncio.CancelledError


async def _raises_later(*_: object) -> Decision:
    raise KeyboardInterrupt


async def _cancels_later(*_: object) -> Decision:
    raise asyncio.CancelledError


NOT_DECISIONS = {
    "True": lambda *_: True,
    "1": lambda *_: 1,
    "'allow'": lambda *_: "allow",
    "None": lambda *_: None,
    "something like a decision": lambda *_: _AlmostDecision(),
    "a decision whose answer is no bool": lambda *_: Decision("yes", "r", "r", "v"),  # type: ignore[arg-type]
    "the class itself": lambda *_: Decision,
    "a coroutine of a plain function": lambda *_: _raises_later(),
    "an exception": _raises,
    "an exit": _exits,
    "a cancellation": _cancels,
    "an interrupt in an async function": _raises_later,
    "a cancellation in an async function": _cancels_later,
    "too few parameters": lambda _: None,
}


@pytest.mark.parametrize("case", NOT_DECISIONS)
async def test_anything_but_a_decision_is_a_denial(case: str) -> None:
    policy = authorisation(NOT_DECISIONS[case])
    for _ in range(3):
        decision = await policy.authorise(ANALYST, Action.INFER, DIGITS)
        assert decision.allowed is False
        assert decision.rule == "hook"
        assert not decision.covers_name
        assert "secret detail" not in decision.reason
    assert not policy.is_degraded
    policy.stop()


async def test_hanging_calls_are_denials_and_then_everything_is_until_one_ends() -> None:
    release = threading.Event()

    def authorize(*arguments: Any) -> Decision:
        release.wait(60)
        return arguments[3].allow()

    policy = authorisation(authorize, timeout_s=0.05, threads=2)
    first = await asyncio.gather(*(policy.authorise(ANALYST, Action.INFER, DIGITS) for _ in range(2)))
    assert [decision.allowed for decision in first] == [False, False]
    assert policy.is_degraded
    refused = await policy.authorise(ANALYST, Action.INFER, DIGITS)
    assert (refused.allowed, "hangs" in refused.reason) == (False, True)
    release.set()
    await _until(lambda: not policy.is_degraded)
    assert policy._hook is not None
    policy._hook._timeout_s = 30.0
    assert (await policy.authorise(ANALYST, Action.INFER, DIGITS)).allowed
    policy.stop()


async def test_an_async_function_that_blocks_stops_neither_the_server_nor_its_denials() -> None:
    release = threading.Event()

    async def authorize(*arguments: Any) -> Decision:
        release.wait(60)
        return arguments[3].allow()

    policy = authorisation(authorize, timeout_s=0.05, threads=2)
    decisions = await asyncio.gather(*(policy.authorise(ANALYST, Action.INFER, DIGITS) for _ in range(4)))
    assert not any(decision.allowed for decision in decisions)
    assert policy.is_degraded
    release.set()
    await _until(lambda: not policy.is_degraded)
    policy.stop()


async def test_an_async_function_that_is_late_is_cancelled() -> None:
    cancelled = threading.Event()

    async def authorize(*_: object) -> Decision:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError("not cancelled")

    policy = authorisation(authorize, timeout_s=0.05)
    assert not (await policy.authorise(ANALYST, Action.INFER, DIGITS)).allowed
    assert await asyncio.to_thread(cancelled.wait, 30)
    policy.stop()


async def test_the_function_cannot_change_what_is_remembered() -> None:
    """The principal of a token lives on in the cache; whoever could write its claims could write the next decision."""
    failures = []

    def authorize(principal: Principal, *arguments: Any) -> Decision:
        claims: Any = principal.claims
        assert isinstance(claims, Mapping)
        for change in (lambda: claims.update(a=1), lambda: claims["a"].update(b=1), lambda: claims["a"]["b"].append(1)):
            try:
                change()
            except (AttributeError, TypeError) as error:
                failures.append(error)
        return arguments[2].allow()

    policy = authorisation(authorize)
    assert (await policy.authorise(ANALYST, Action.INFER, DIGITS)).allowed
    assert len(failures) == 3
    assert ANALYST.claims == {"a": {"b": [1]}}
    policy.stop()


def test_a_function_in_a_file_is_loaded_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "mit Umlaut ä und 空"
    folder.mkdir()
    (folder / "json.py").write_text("def authorize(*_):\n    return 'from the file'\n", encoding="utf-8")
    function, digest = load_hook("json.py:authorize", folder)
    assert function(ANALYST, Action.INFER, DIGITS, None) == "from the file"  # type: ignore[arg-type, comparison-overlap]
    assert load_hook(f"{folder / 'json.py'}:authorize", Path())[1] != digest, "the reference belongs to the version"
    (folder / "json.py").write_text("def authorize(*_):\n    return 'changed'\n", encoding="utf-8")
    assert load_hook("json.py:authorize", folder)[1] != digest


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("nowhere.py:authorize", "there is no file"),
        ("no_such_module_anywhere:authorize", "can't be imported"),
        ("broken.py:authorize", "ZeroDivisionError"),
        ("good.py:authorise", "no function 'authorise'; it has authorize"),
        ("good.py:LIMIT", "no function 'LIMIT'"),
    ],
)
def test_a_function_that_cannot_be_had_is_a_clear_mistake(tmp_path: Path, reference: str, sentence: str) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    (tmp_path / "good.py").write_text("LIMIT = 1\ndef authorize(*_):\n    pass\n", encoding="utf-8")
    with pytest.raises(ValueError, match=sentence):
        load_hook(reference, tmp_path)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 - of another thread, which sets no event
            await asyncio.sleep(0.001)
