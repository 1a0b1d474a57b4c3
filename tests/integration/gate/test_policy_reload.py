"""Another policy while the server runs: at once for each new request, never in the middle of one, never by half."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.rigs.policy_rig import GRANT, KEYS, ROW, PolicyRig, policy_rig

INFER = "/v2/models/double/infer"
SMALL_ALONE = """
[[policy.grants]]
roles = ["asker"]
models = ["double"]
actions = ["infer"]
max_bytes = 10
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[PolicyRig]:
    """A gate whose files the test changes."""
    async with policy_rig(tmp_path) as rig:
        yield rig


@pytest.mark.identity_case(
    "policy", "a right that was taken away while the server runs", "403 from the next request on"
)
async def test_a_right_that_is_taken_away_is_gone_with_the_next_request(rig: PolicyRig) -> None:
    """Nothing that was remembered outlives the policy: neither the decision nor the key's roles."""
    assert await rig.infer("ann") == 200
    before = rig.known().status().version
    rig.write(askers='"key:bob"')
    assert await rig.infer("ann") == 200, "not before it is read again"
    answer = await rig.reload()
    assert answer.status == 200
    assert (await rig.infer("ann"), await rig.infer("bob")) == (403, 200)
    after = answer.json()["version"]
    assert after != before
    decided = [event.decision.policy_version for event in rig.audit.events if event.decision is not None]
    assert (decided[0], decided[-1]) == (before, after)


async def test_each_change_is_in_the_audit_with_both_versions_before_it_counts(rig: PolicyRig) -> None:
    before = rig.known().status().version
    rig.write("")
    await rig.reload()
    (event,) = rig.audit.policies
    assert (event.version, event.new_version) == (before, rig.known().status().version)
    assert event.principal is not None
    assert (event.principal.key, event.is_refused) == ("key:root", False)
    rig.write(GRANT)
    await rig.known().look_once()
    assert rig.audit.policies[-1].principal is None, "the file was changed, and nobody asked"
    assert rig.audit.policies[-1].new_version == before, "the same rules are the same version again"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[policy.grants]\n", "is not TOML"),
        ('[[policy.grants]]\nroles = ["nobody"]\nmodels = ["*"]\nactions = ["infer"]\n', "there is no role 'nobody'"),
        ('[[policy.grants]]\nroles = ["asker"]\nmodels = ["*"]\nactions = ["fly"]\n', "'fly' is not an action"),
        ("[surprise]\nx = 1\n", "there is no such setting"),
        ('[[quotas]]\nname = "q"\nrole = "nobody"\nrequests_per_minute = 1\n', "nobody"),
    ],
)
async def test_a_bad_file_keeps_the_policy_and_shows_amber(rig: PolicyRig, text: str, told: str) -> None:
    before = rig.known().status().version
    rig.write(text)
    answer = await rig.reload()
    assert answer.status == 409
    assert told in answer.json()["error"]
    assert str(rig.folder) not in answer.json()["error"]
    assert await rig.infer("ann") == 200
    shown = (await rig.ask("root", "GET", "/v2/policy")).json()
    assert (shown["version"], shown["is_amber"], len(shown["troubles"])) == (before, True, 1)
    assert rig.audit.policies[-1].is_refused
    assert (await rig.ask("root", "GET", "/v2/health/ready")).status == 200, "amber is not unready"
    rig.write()
    await rig.known().look_once()
    assert (await rig.ask("root", "GET", "/v2/policy")).json()["is_amber"] is False
    status = rig.known().status()
    assert (status.reloads, status.refused_reloads) == (1, 1)


async def test_a_file_that_is_gone_keeps_the_policy(rig: PolicyRig) -> None:
    (rig.folder / "torchgate.toml").unlink()
    await rig.known().look_once()
    assert rig.known().status().troubles
    assert await rig.infer("ann") == 200


async def test_a_bad_file_is_told_once_and_not_at_each_look(rig: PolicyRig) -> None:
    rig.write("[")
    for _ in range(3):
        await rig.known().look_once()
    assert len(rig.audit.policies) == 1


@pytest.mark.identity_case(
    "policy", "a request whose body comes after the policy changed", "one policy decides all of it"
)
async def test_a_request_under_way_ends_under_the_policy_that_let_it_in(rig: PolicyRig) -> None:
    """Its body comes after the change, which would forbid it: one record, one policy."""
    before = rig.known().status().version
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    lines = (
        f"POST {INFER} HTTP/1.1",
        "Host: localhost",
        f"X-API-Key: {KEYS['ann'].key}",
        f"Content-Length: {len(ROW)}",
    )
    writer.write("\r\n".join((*lines, "", "")).encode())
    async with asyncio.timeout(120):
        while not rig.engine.open_permits:  # noqa: ASYNC110 - of the gate, which tells nobody that it let a request in
            await asyncio.sleep(0.001)
    rig.write(SMALL_ALONE)
    assert (await rig.reload()).status == 200
    assert await rig.infer("ann") == 403, "a new request goes by the new policy"
    writer.write(ROW)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    event = rig.audit.events[-1]
    assert event.decision is not None
    assert (event.status, event.decision.policy_version) == (200, before)


@pytest.mark.identity_case("policy", "a change of the policy that the audit can't take", "the old policy stays")
async def test_a_change_that_cannot_be_recorded_does_not_count(rig: PolicyRig) -> None:
    """Fail closed, and tried again as soon as the trail can be written."""
    rig.write(askers='"key:bob"')
    rig.audit.is_available = False
    await rig.known().look_once()
    assert "audit trail" in rig.known().status().troubles[0]
    rig.audit.is_available = True
    assert await rig.infer("ann") == 200
    await rig.known().look_once()
    assert await rig.infer("ann") == 403
    assert not rig.known().status().troubles


@pytest.mark.identity_case("policy", "an API key that was taken out of the settings", "401 without a restart")
async def test_a_key_in_the_settings_is_revoked_without_a_restart(rig: PolicyRig) -> None:
    rig.write()
    path = rig.folder / "torchgate.toml"
    text = path.read_text(encoding="utf-8")
    start = text.index('[[identity.api_keys]]\nid = "ann"')
    end = text.index("[[identity.api_keys]]", start + 1)
    path.write_text((text[:start] + text[end:]).replace('"key:ann", ', ""), encoding="utf-8")
    assert (await rig.reload()).status == 200
    assert await rig.infer("ann") == 401


async def test_what_needs_a_restart_is_said_and_not_half_done(rig: PolicyRig) -> None:
    rig.write(GRANT + "\n[audit]\nsegment_bytes = 2000000\n[identity.refusals]\nburst = 3\n")
    answer = await rig.reload()
    assert answer.status == 200, answer.body
    assert answer.json()["waits_for_restart"] == ["identity.refusals", "audit"]


@pytest.mark.identity_case("policy", "a policy in the body of a reload, or a reload without the right", "400, 403")
async def test_only_those_who_may_administer_see_or_change_the_policy(rig: PolicyRig) -> None:
    for method, path in (("GET", "/v2/policy"), ("POST", "/v2/policy/reload")):
        assert (await rig.ask("ann", method, path)).status == 403
    rig.write("")
    brought = await rig.ask("root", "POST", "/v2/policy/reload", b'{"grants": []}')
    assert brought.status == 400, "nobody brings a policy by HTTP"
    assert await rig.infer("ann") == 200


HOOK = """
import time
def authorize(principal, action, resource, context):
    {body}
    return context.allow() if context.grant else context.deny("no grant")
"""


async def test_the_hook_is_read_again_even_when_only_its_file_has_changed(tmp_path: Path) -> None:
    """The attacker's luck: same size, same second, so that a compiled file would still look fresh."""
    (tmp_path / "policy.py").write_text(HOOK.format(body="if 0: return context.deny('')"), encoding="utf-8")
    async with policy_rig(tmp_path, policy='hook = "policy.py:authorize"') as rig:
        before = rig.known().status().version
        assert await rig.infer("ann") == 200
        (tmp_path / "policy.py").write_text(HOOK.format(body="if 1: return context.deny('')"), encoding="utf-8")
        await rig.known().look_once()
        assert await rig.infer("ann") == 403
        assert rig.known().status().version != before
        (tmp_path / "policy.py").write_text("1 / 0", encoding="utf-8")
        await rig.known().look_once()
        assert "ZeroDivisionError" in rig.known().status().troubles[0]
        assert await rig.infer("ann") == 403
        assert not (tmp_path / "__pycache__").exists()


async def test_a_bad_new_hook_counts_as_soon_as_its_file_is_mended(tmp_path: Path) -> None:
    """Its file is looked at although the policy in force has none."""
    async with policy_rig(tmp_path) as rig:
        (tmp_path / "policy.py").write_text("def authorise(): pass", encoding="utf-8")
        rig.write(policy='hook = "policy.py:authorize"')
        await rig.known().look_once()
        assert "no function 'authorize'" in rig.known().status().troubles[0]
        (tmp_path / "policy.py").write_text(HOOK.format(body="pass"), encoding="utf-8")
        await rig.known().look_once()
        assert not rig.known().status().troubles
        assert await rig.infer("ann") == 200


async def test_a_reload_shakes_no_hanging_call_off(tmp_path: Path) -> None:
    """The attacker hangs the function, has rules reloaded, and would hang four more threads each time."""
    (tmp_path / "policy.py").write_text(
        "import threading\nSTOP = threading.Event()\n"
        "def authorize(principal, action, resource, context):\n"
        "    if principal.key == 'key:ann': STOP.wait(120)\n"
        "    return context.allow()\n",
        encoding="utf-8",
    )
    policy = 'hook = "policy.py:authorize"\nhook_timeout_s = 0.05\nhook_threads = 2'
    async with policy_rig(tmp_path, policy=policy) as rig:
        assert [await rig.infer("ann"), await rig.infer("ann")] == [403, 403]
        assert "hangs" in rig.known().status().troubles[0]
        rig.write(askers='"key:bob"', policy=policy)
        await rig.known().look_once()
        assert await rig.infer("bob") == 403, "still denied, because the threads are still taken"
        assert "hangs" in rig.known().status().troubles[0]


async def test_a_file_that_changed_while_the_server_started_is_taken(tmp_path: Path) -> None:
    """It was read first thing, and models load for minutes; whoever revokes a right meanwhile must be heard."""

    def revoke() -> None:
        PolicyRig(tmp_path).write(askers='"key:bob"')

    async with policy_rig(tmp_path, before_start=revoke) as rig:
        assert await rig.infer("ann") == 200
        await rig.known().look_once()
        assert await rig.infer("ann") == 403


async def test_a_refused_file_does_not_switch_the_looking_off(tmp_path: Path) -> None:
    async with policy_rig(tmp_path, interval_s=0.05) as rig:
        rig.write(policy='hook = "nowhere.py:authorize"')  # and reload_interval_s = 0
        async with asyncio.timeout(120):
            while not rig.known().status().troubles:  # noqa: ASYNC110 - of a file, which sets no event
                await asyncio.sleep(0.01)
        rig.write(askers='"key:bob"')
        async with asyncio.timeout(120):
            while await rig.infer("ann") != 403:  # noqa: ASYNC110 - of a file, which sets no event
                await asyncio.sleep(0.01)


async def test_the_settings_file_is_looked_at_by_itself(tmp_path: Path) -> None:
    async with policy_rig(tmp_path, interval_s=0.05) as rig:
        assert await rig.infer("ann") == 200
        rig.write(askers='"key:bob"', interval_s=0.05)
        async with asyncio.timeout(120):
            while await rig.infer("ann") != 403:  # noqa: ASYNC110 - of a file, which sets no event
                await asyncio.sleep(0.02)
        assert rig.audit.policies[-1].principal is None
