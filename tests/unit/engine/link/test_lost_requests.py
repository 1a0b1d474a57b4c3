"""Requests whose gate goes away are told to the pool's trail, each by id, principal and model; nobody else's are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio
from tests.rigs.engine_questions import ask, person, until
from tests.rigs.link_rig import OWNER, LinkRig

from torchgate.engine.link.lost_requests import LostRequest, lost_requests


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[LinkRig]:
    made = LinkRig()
    await made.start_pool()
    yield made
    made.gate.set()
    await made.stop()


def test_each_is_named_and_beyond_a_bound_they_are_counted() -> None:
    lost = [LostRequest(f"{number}" + "x" * 100, f"key:{number}", OWNER) for number in range(70)]
    told = list(lost_requests("gate 1 of uid:7", lost, 12.5))
    assert len(told) == 65
    assert {(one.at, one.activity, one.subject) for one in told} == {(12.5, "failure", "gate")}
    said = f"Request 3{'x' * 63} of key:3 to {OWNER} was under way when gate 1 of uid:7 went away."
    assert told[3].sentence == said
    assert told[-1].sentence == "6 more requests were under way when gate 1 of uid:7 went away."


def test_without_any_nothing_is_told() -> None:
    assert list(lost_requests("gate 1 of uid:7", [], 0.0)) == []


async def test_a_gate_that_dies_leaves_what_was_under_way_and_nothing_that_was_answered(rig: LinkRig) -> None:
    doomed, sound = await rig.start_gate(), await rig.start_gate()
    await ask(doomed, [1], "bob")
    rig.gate.clear()
    lost = asyncio.create_task(ask(doomed, [2], "ada"))
    await until(lambda: len(rig.back_end.ran) == 2)
    kept = asyncio.create_task(ask(sound, [3], "carl"))
    let_in = await doomed.admit(OWNER, person("dora"), 64)
    await until(lambda: sum(gate.permits for gate in rig.pool.gates) == 3)
    rig.kill_gate(0)
    await until(lambda: len(rig.pool.gates) == 1)
    rig.gate.set()
    await kept
    lost.cancel()
    await asyncio.wait([lost])
    let_in.release()
    assert [one.subject for one in rig.noted] == ["gate"]
    assert " of ada to owner:1 was under way" in rig.noted[0].sentence


async def test_a_gate_that_stops_and_a_pool_that_stops_leave_nothing(rig: LinkRig) -> None:
    gate = await rig.start_gate()
    await ask(gate, [1])
    await gate.stop()
    await until(lambda: not rig.pool.gates)
    gate = await rig.start_gate()
    rig.gate.clear()
    cut = asyncio.create_task(ask(gate, [2]))
    await until(lambda: len(rig.back_end.ran) == 2)
    await rig.kill_pool()
    rig.gate.set()
    await asyncio.wait([cut])
    assert rig.noted == []
