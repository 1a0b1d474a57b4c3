"""Rules that only the body or the clock can decide, asked of a real gate over a real socket."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.rigs.http_connection import HttpConnection
from tests.rigs.policy_rig import KEYS, policy_rig

INFER = "/v2/models/double/infer"
GRANT = '[[policy.grants]]\nroles = ["asker"]\nmodels = ["double"]\nactions = ["infer"]\n'
DENIAL = '[[policy.denials]]\nroles = ["asker"]\nmodels = ["double"]\nactions = ["infer"]\n'
FORBIDDEN = "This principal may not do this here."


def body(rows: int) -> bytes:
    """A request of so many rows."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 2], "data": [1.0, 2.0] * rows}
    return json.dumps({"inputs": [tensor]}).encode()


@pytest.mark.identity_case(
    "policy", "more rows or bytes than the grant says", "403 after decoding, before anything runs"
)
@pytest.mark.parametrize(
    ("rules", "rows", "status", "rule"),
    [
        (GRANT + "max_rows = 2\n", 2, 200, "policy.grants[1]"),
        (GRANT + "max_rows = 2\n", 3, 403, "default deny"),
        (GRANT + "max_rows = 2\n" + GRANT + "max_rows = 3\n", 3, 200, "policy.grants[2]"),
        (GRANT + "max_bytes = 120\n", 1, 200, "policy.grants[1]"),
        (GRANT + "max_bytes = 120\n", 8, 403, "default deny"),
        (GRANT + DENIAL + "above_rows = 2\n", 2, 200, "policy.grants[1]"),
        (GRANT + DENIAL + "above_rows = 2\n", 3, 403, "policy.denials[0]"),
        (GRANT + DENIAL + "above_bytes = 120\n", 8, 403, "policy.denials[0]"),
    ],
)
async def test_what_the_body_tells_decides_before_anything_runs(
    tmp_path: Path, rules: str, rows: int, status: int, rule: str
) -> None:
    async with policy_rig(tmp_path, rules) as rig:
        answer = await rig.ask("ann", "POST", INFER, body(rows))
        assert answer.status == status, answer.body
        event = rig.audit.events[-1]
        assert event.decision is not None
        assert (event.decision.rule, event.rows) == (rule, rows)
        assert len(rig.engine.requests) == (status == 200)
        assert rig.engine.open_permits == 0
        if status == 403:
            assert answer.json()["error"] == FORBIDDEN
            small = await rig.ask("ann", "POST", INFER, body(1))
            assert small.status == 200, "a refusal is of this request alone, and is not remembered"


async def test_bytes_are_those_that_were_sent(tmp_path: Path) -> None:
    """A body that is packed to almost nothing counts as it came; how far it may unfold is another limit."""
    async with policy_rig(tmp_path, GRANT + "max_bytes = 120\n") as rig:
        connection = HttpConnection(rig.port)
        try:
            headers = {"X-API-Key": KEYS["ann"].key, "Content-Encoding": "gzip"}
            answer = await connection.request("POST", INFER, headers, gzip.compress(body(8)))
        finally:
            await connection.close()
        assert answer.status == 200, answer.body


async def test_a_right_begins_and_ends_with_its_hours(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    today, other = days[now.weekday()], days[(now + timedelta(days=3)).weekday()]
    # Today and its neighbours, so that midnight may pass while this runs.
    near = json.dumps([days[(now + timedelta(days=by)).weekday()] for by in (-1, 0, 1)])
    assert today in near
    async with policy_rig(tmp_path, GRANT + f'days = {near}\ntime_zone = "UTC"\n') as rig:
        assert await rig.infer("ann") == 200
        rig.write(GRANT + f'days = ["{other}"]\ntime_zone = "UTC"\n')
        assert (await rig.reload()).status == 200
        assert await rig.infer("ann") == 403
        assert (await rig.ask("ann", "POST", "/v2/models/nope/infer", body(1))).status == 403
        ends = (now + timedelta(days=1)).isoformat()
        rig.write(GRANT + f'valid_until = "{ends}"\n')
        assert (await rig.reload()).status == 200
        assert await rig.infer("ann") == 200


async def test_the_hook_is_asked_at_the_door_and_again_with_facts(tmp_path: Path) -> None:
    """DESIGN 4.5: both must allow, and a denial of the rules it can't overrule."""
    (tmp_path / "hook.py").write_text(
        "def authorize(principal, action, resource, context):\n"
        "    if context.facts is not None and context.facts.rows == 2:\n"
        "        return context.deny('two rows')\n"
        "    return context.allow(f'{resource.model or resource.name} {context.grant} {context.facts}')\n",
        encoding="utf-8",
    )
    denial = DENIAL.replace('"double"', '"other"')
    async with policy_rig(tmp_path, denial, policy='hook = "hook.py:authorize"') as rig:
        assert await rig.infer("ann") == 200, "without a grant the hook's answer alone allows"
        assert rig.audit.events[-1].decision is not None
        assert rig.audit.events[-1].decision.reason == "double:2 None RequestFacts(rows=1, body_bytes=73)"
        refused = await rig.ask("ann", "POST", INFER, body(2))
        assert (refused.status, refused.json()["error"]) == (403, FORBIDDEN)
        assert len(rig.engine.requests) == 1
        assert await rig.infer("ann", "other") == 403
        assert rig.audit.events[-1].decision.rule == "policy.denials[0]"
