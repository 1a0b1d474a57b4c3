"""Callers' tokens through the engine: who may share a batch, what is lent, and what becomes of those who have none."""

from __future__ import annotations

import asyncio
import random
import struct

import msgspec
import pytest
from tests.fakes.in_process_back_end import DIES, InProcessBackEnd
from tests.fakes.windows_tokens import FakeKept, FakeObject, FakeTokens
from tests.fakes.wire_children import HeapSections, Heard, WireChild, WireChildren, last_run, well_behaved
from tests.rigs.engine_questions import catalog_of, number_request, until

from torchgate.contract.back_end import BackEnd, Batch, BatchItem, BatchLost
from torchgate.contract.decision import ModelRef
from torchgate.contract.errors import Cancelled, NoCallerToken, WorkerDied
from torchgate.contract.inference import Timing
from torchgate.contract.principal import Principal
from torchgate.contract.tensors import Signature, TensorSpec
from torchgate.contract.windows_tokens import TokenFacts
from torchgate.contract.worker_wire import Run
from torchgate.engine.catalog import Catalog
from torchgate.engine.local_workers import LocalWorkers
from torchgate.engine.scheduler import Scheduler
from torchgate.engine.settings import EngineSettings

OWNER = ModelRef("owner", "1")
STATIC = Signature((TensorSpec("number", "INT64", (1,)),), (TensorSpec("double", "INT64", (1,)),))
ADMINISTRATORS = "S-1-5-32-544"


def impersonating() -> Catalog:
    catalog = catalog_of("owner")
    entry = catalog.entries[OWNER]
    artifact = msgspec.structs.replace(entry.artifact, impersonates=True, signature=STATIC)
    return Catalog({OWNER: msgspec.structs.replace(entry, artifact=artifact)}, catalog.defaults)


def token_of(tokens: FakeTokens, user: str, *, groups: frozenset[str] = frozenset()) -> FakeKept:
    kept = tokens.take_and_keep(tokens.put(FakeObject(TokenFacts(user, groups)))).token
    assert isinstance(kept, FakeKept)
    return kept


def windows_user(key: str) -> Principal:
    return Principal(key, key, "windows", "windows", roles=frozenset({"asker"}))


async def started(back_end: BackEnd) -> Scheduler:
    engine = Scheduler(
        impersonating(), back_end, EngineSettings(section_bytes=1 << 23, restart_delay_s=0.0), digest=lambda _: ""
    )
    await engine.start()
    await until(lambda: engine.is_warm)
    assert engine.describe(OWNER).impersonates
    return engine


async def ask(engine: Scheduler, number: int, user: str, token: FakeKept | None) -> Timing:
    principal = windows_user(user)
    permit = await engine.admit(OWNER, principal, 8)
    try:
        (await permit.reserve(8))[:] = struct.pack("<q", number)
        request = msgspec.structs.replace(number_request([number], principal), token=token)
        return (await permit.run(request)).timing
    finally:
        permit.release()
        if token is not None:
            token.close()


def rights(batch: Batch) -> set[tuple[str, str]]:
    return {(item.request.principal.key, item.request.token.likeness) for item in batch.items}


@pytest.mark.identity_case("impersonation", "two users, and two tokens of one user, in one flood", "no batch is shared")
async def test_callers_with_different_rights_share_no_batch_and_the_others_do():
    back_end, tokens, chance = InProcessBackEnd(gate=asyncio.Event()), FakeTokens(), random.Random(7)
    engine = await started(back_end)
    kinds = [("ann", frozenset()), ("ann", frozenset({ADMINISTRATORS})), ("bob", frozenset())]
    asked = [chance.choice(kinds) for _ in range(120)]
    flood = [
        asyncio.create_task(ask(engine, number, user, token_of(tokens, user, groups=groups)))
        for number, (user, groups) in enumerate(asked)
    ]
    await until(lambda: bool(back_end.ran))
    back_end._gate.set()
    timings = await asyncio.gather(*flood)
    assert all(len(rights(batch)) == 1 for batch in back_end.ran)
    assert {one for batch in back_end.ran for one in rights(batch)} == {
        (user, f"{TokenFacts(user, groups)}") for user, groups in kinds
    }
    assert max(timing.batch_requests for timing in timings) > 1
    assert not tokens.open
    await engine.stop(1)


async def test_the_same_flood_shares_batches_where_the_model_needs_no_rights():
    back_end = InProcessBackEnd(gate=asyncio.Event())
    engine = Scheduler(catalog_of("owner"), back_end, EngineSettings(), digest=lambda _: "")
    await engine.start()
    await until(lambda: engine.is_warm)
    flood = [asyncio.create_task(ask(engine, 1, user, None)) for user in ("ann", "bob") * 20]
    await until(lambda: bool(back_end.ran))
    back_end._gate.set()
    await asyncio.gather(*flood)
    assert any(len({item.request.principal.key for item in batch.items}) > 1 for batch in back_end.ran)
    await engine.stop(1)


@pytest.mark.identity_case("impersonation", "no token, or one given back already, past the door", "403, nothing runs")
async def test_who_has_no_token_runs_nothing():
    back_end, tokens = InProcessBackEnd(), FakeTokens()
    engine = await started(back_end)
    closed = token_of(tokens, "ann")
    closed.close()
    for token in (None, closed):
        with pytest.raises(NoCallerToken, match="Windows rights"):
            await ask(engine, 1, "ann", token)
    assert not back_end.ran
    await engine.stop(1)


class Workers:
    """Local workers over children of the test, one version of them."""

    def __init__(self, children: WireChildren) -> None:
        self.children = children
        self.tokens = FakeTokens()
        settings = EngineSettings(section_bytes=1 << 20, restart_delay_s=0.0, start_timeout_s=60.0)
        self.back_end = LocalWorkers(children, HeapSections(), settings, environment={})

    def serving(self) -> WireChild:
        return next(child for child in self.children.started if child.section is not None)

    async def activate(self) -> None:
        await self.back_end.activate(impersonating().entries[OWNER].artifact, lambda *_: None)

    def batch(self, *tokens: FakeKept | None, users: tuple[str, ...] = ("ann",)) -> Batch:
        items = []
        for index, token in enumerate(tokens):
            slot = self.back_end.reserve(0, 8)
            slot.view[:] = struct.pack("<q", index)
            request = number_request([index], windows_user(users[index % len(users)]))
            items.append(BatchItem(msgspec.structs.replace(request, token=token), slot))
        return Batch(5, 0, tuple(items), len(items))


async def test_a_token_is_lent_to_the_one_worker_that_runs_the_row():
    rig = Workers(WireChildren(well_behaved))
    await rig.activate()
    token = token_of(rig.tokens, "ann")
    await rig.back_end.run(rig.batch(token))
    lent = {child.pid: child.lent for child in rig.children.started if child.lent}
    assert lent == {rig.serving().pid: [token]}
    assert last_run(rig.serving()).token == 1004
    await rig.back_end.stop()


async def test_a_second_run_is_lent_the_token_again():
    """It lives until its row's last run: the first worker dies, quarantine runs it alone."""
    runs: list[WireChild] = []

    def dies_once(child: WireChild, message: Heard) -> None:
        if isinstance(message, Run):
            runs.append(child)
            if len(runs) == 1:
                child.end(1)
                return
        well_behaved(child, message)

    rig = Workers(WireChildren(dies_once))
    await rig.activate()
    token = token_of(rig.tokens, "ann")
    with pytest.raises(BatchLost):
        await rig.back_end.run(rig.batch(token))
    await rig.back_end.run(rig.batch(token), quarantined=True)
    assert [child.lent for child in runs] == [[token], [token]]
    assert runs[0] is not runs[1]
    await rig.back_end.stop()


async def test_of_callers_with_the_same_rights_one_who_is_still_there_lends_his():
    rig = Workers(WireChildren(well_behaved))
    await rig.activate()
    gone, here = token_of(rig.tokens, "ann"), token_of(rig.tokens, "ann")
    gone.close()
    await rig.back_end.run(rig.batch(gone, here))
    assert rig.serving().lent == [here]
    await rig.back_end.stop()


async def test_a_worker_is_free_again_where_every_caller_has_gone():
    rig = Workers(WireChildren(well_behaved))
    await rig.activate()
    gone = token_of(rig.tokens, "ann")
    gone.close()
    for _ in range(3):
        batch = rig.batch(gone)
        with pytest.raises(Cancelled):
            await rig.back_end.run(batch)
        batch.items[0].slot.release()
    assert rig.back_end.free_replicas(0) == 1
    await rig.back_end.run(rig.batch(token_of(rig.tokens, "ann")))
    await rig.back_end.stop()


@pytest.mark.parametrize("users", [("ann", "bob"), ("ann",)])
async def test_a_batch_of_callers_with_different_rights_is_never_sent(users: tuple[str, ...]):
    """Were one ever made, by whatever mistake: nobody may act as another."""
    rig = Workers(WireChildren(well_behaved))
    await rig.activate()
    second = token_of(rig.tokens, users[-1], groups=frozenset({ADMINISTRATORS}))
    for tokens in ((token_of(rig.tokens, "ann"), second), (token_of(rig.tokens, "ann"), None)):
        with pytest.raises(RuntimeError, match="different rights"):
            await rig.back_end.run(rig.batch(*tokens, users=users))
    assert not any(isinstance(message, Run) for message in rig.serving().heard)
    assert rig.back_end.free_replicas(0) == 1
    await rig.back_end.stop()


async def test_a_worker_that_can_t_be_lent_a_token_runs_nothing():
    rig = Workers(WireChildren(well_behaved))
    await rig.activate()
    rig.serving().lend_refusal = OSError("access denied")
    with pytest.raises(BatchLost):
        await rig.back_end.run(rig.batch(token_of(rig.tokens, "ann")))
    assert rig.children.started[0].is_killed
    assert not any(isinstance(message, Run) for child in rig.children.started for message in child.heard)
    await rig.back_end.stop()


async def test_a_row_that_ends_its_worker_with_its_callers_rights_is_its_callers_alone():
    back_end, tokens = InProcessBackEnd(), FakeTokens()
    engine = await started(back_end)
    answers = await asyncio.gather(
        ask(engine, DIES, "ann", token_of(tokens, "ann")),
        ask(engine, 2, "bob", token_of(tokens, "bob")),
        return_exceptions=True,
    )
    assert isinstance(answers[0], WorkerDied)
    assert isinstance(answers[1], Timing)
    assert not tokens.open
    await engine.stop(1)
