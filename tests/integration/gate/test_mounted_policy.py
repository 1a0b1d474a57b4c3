"""A request that lasts, and asks again and again: each of its questions is decided by what counts when it is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.rigs.asgi_client import AsgiAnswer, ask
from tests.rigs.policy_rig import ALL_KEYS, GRANT, KEYS, PolicyRig, policy_rig

import torchgate
from torchgate.contract.errors import CredentialProblem, TorchgateError
from torchgate.gate.asgi import Receive, Scope, Send
from torchgate.gate.mounted import Guard, OpenGate
from torchgate.gate.public_paths import PublicPaths

ROW = {"x": [[1.0, 2.0]]}


class Stream:
    """One request of a mounted application, which asks for a part whenever the test wants one."""

    def __init__(self, rig: PolicyRig) -> None:
        assert rig.app is not None
        opened = OpenGate(rig.app)
        self._guard = Guard(self._route, lambda: opened, contextlib.nullcontext, PublicPaths(()))
        self._wishes: asyncio.Queue[str] = asyncio.Queue()
        self._parts: asyncio.Queue[str] = asyncio.Queue()
        self.callers: list[torchgate.Caller] = []
        self._request: asyncio.Task[AsgiAnswer] | None = None

    async def begin(self, who: str) -> None:
        """Send it."""
        asked = ask(self._guard, path="/stream", headers={"X-API-Key": KEYS[who].key})
        self._request = asyncio.create_task(asked)

    async def part(self, model: str = "double", *, by: str = "infer") -> str:
        """Another question; the code of its refusal, or `200`."""
        self._wishes.put_nowait(f"{by} {model}")
        return await asyncio.wait_for(self._parts.get(), 60)

    async def end(self) -> AsgiAnswer:
        """The whole answer."""
        self._wishes.put_nowait("")
        assert self._request is not None
        return await asyncio.wait_for(self._request, 60)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = torchgate.caller()
        self.callers.append(caller)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while wish := await self._wishes.get():
            by, model = wish.split()
            try:
                await (caller.infer(model, ROW) if by == "infer" else caller.authorise("infer", model))
            except TorchgateError as refusal:
                self._parts.put_nowait(f"{type(refusal).__name__} {refusal.code}")
            else:
                self._parts.put_nowait("200")
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[PolicyRig]:
    """A gate whose files and clock the test changes."""
    async with policy_rig(tmp_path) as rig:
        yield rig


@pytest.mark.identity_case(
    "mounted application", "a right that is taken away while a stream lasts", "403 for its next question"
)
@pytest.mark.parametrize("by", ["infer", "authorise"])
async def test_a_right_that_is_taken_away_ends_in_the_middle_of_a_stream(rig: PolicyRig, by: str) -> None:
    """A role, and a grant; and given back it counts again. Each record has the policy that decided."""
    stream = Stream(rig)
    await stream.begin("ann")
    assert await stream.part(by=by) == "200"
    versions = [rig.known().status().version]
    rig.write(askers='"key:bob"')
    assert await stream.part(by=by) == "200", "not before it is read again"
    await rig.reload()
    versions.append(rig.known().status().version)
    assert await stream.part(by=by) == "Forbidden forbidden"
    rig.write("")
    await rig.reload()
    assert await stream.part(by=by) == "Forbidden forbidden"
    rig.write(GRANT)
    await rig.reload()
    assert await stream.part(by=by) == "200"
    assert (await stream.end()).status == 200
    decided = [event for event in rig.audit.events if event.path == "/stream" and event.action == "infer"]
    assert [event.status for event in decided] == [200, 200, 403, 403, 200]
    assert [event.decision.policy_version for event in decided[1:3] if event.decision] == versions


@pytest.mark.identity_case(
    "mounted application", "an API key that is withdrawn while a stream lasts", "401 for its next question"
)
async def test_a_key_that_is_withdrawn_asks_nothing_more(rig: PolicyRig) -> None:
    """The record says whose it was, and why."""
    stream = Stream(rig)
    await stream.begin("ann")
    assert await stream.part() == "200"
    rig.write(keys={"bob": "", "root": ""}, askers='"key:bob"')
    assert (await rig.reload()).status == 200
    assert await stream.part() == "RejectedCredential rejected_credential"
    assert await stream.part(by="authorise") == "RejectedCredential rejected_credential"
    refused = rig.audit.events[-1]
    assert refused.principal is not None
    assert (refused.status, refused.principal.key, refused.rows) == (401, "key:ann", 0)
    assert refused.credential_reason == "API key unknown or wrong"
    assert stream.callers[0].principal.key == "key:ann"
    assert (await stream.end()).status == 200


@pytest.mark.identity_case(
    "mounted application", "a credential that expires while a stream lasts", "401 for its next question"
)
async def test_a_key_that_expires_asks_nothing_more(rig: PolicyRig) -> None:
    """Whatever it was allowed before."""
    ends = datetime.fromtimestamp(rig.wall_clock() + 3600, UTC).isoformat()
    rig.write(keys={**ALL_KEYS, "ann": f"expires = {ends}"})
    assert (await rig.reload()).status == 200
    stream = Stream(rig)
    await stream.begin("ann")
    assert await stream.part() == "200"
    rig.ahead_s = 3599.0 - 60
    assert await stream.part() == "200"
    rig.ahead_s = 3601.0
    assert await stream.part() == "RejectedCredential rejected_credential"
    assert rig.audit.events[-1].credential_reason == "API key expired"
    await stream.end()


async def test_a_refusal_that_its_route_lets_through_is_the_answer(rig: PolicyRig) -> None:
    """401, as a new request with that key would get."""
    assert rig.app is not None
    opened = OpenGate(rig.app)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        rig.write(keys={"bob": "", "root": ""}, askers='"key:bob"')
        await rig.known().look_once()
        with pytest.raises(CredentialProblem):
            await torchgate.caller().authorise("read", "double")
        await torchgate.caller().infer("double", ROW)

    guard = Guard(route, lambda: opened, contextlib.nullcontext, PublicPaths(()))
    answer = await ask(guard, path="/x", headers={"X-API-Key": KEYS["ann"].key})
    assert (answer.status, answer.json()["code"]) == (401, "rejected_credential")


async def test_a_policy_ends_only_when_no_question_is_decided_by_it_any_more(rig: PolicyRig) -> None:
    """A stream holds the one that it began with, and each question the one that decides it."""
    stream = Stream(rig)
    await stream.begin("ann")
    assert await stream.part() == "200"
    for _ in range(3):
        rig.write(GRANT + "\n# changed\n")
        assert (await rig.reload()).status == 200
        assert await stream.part() == "200"
    assert (await stream.end()).status == 200
    assert await rig.infer("ann") == 200
