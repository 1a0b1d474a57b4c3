"""processesPerApplication: IIS's module starts two gates and asks them in turn; both are of one warm pool."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.rigs.behind_iis import Behind
from tests.rigs.iis_module.iis import Answer, Iis
from tests.rigs.iis_module.server_process import ServerProcess
from tests.rigs.iis_project import gate_of, render
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.processes import kill
from tests.rigs.sleeping_model import HELD_MS, process_of

from torchgate.telemetry.audit_verify import verify

WITHIN_S = 240.0

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def behind(pool: Path) -> Iterator[Behind]:
    """Two gates, as soon as two requests have come."""
    project = gate_of(pool.parent / "gate twice", pool, "ancm", key_ids=("ann", "counted", "single"))
    folder = render(project.folder, "--gate")
    web_config = folder / "web.config"
    text = web_config.read_text(encoding="utf-8")
    web_config.write_text(text.replace("<aspNetCore ", '<aspNetCore processesPerApplication="2" '), encoding="utf-8")
    with Iis.started(folder, shutdown_delay_s=0.05) as iis:
        yield Behind("ancm", project, iis)


def answered_by(behind: Behind, answer: Answer) -> ServerProcess:
    """Who wrote a request's line into its log."""
    sought, give_up_at = answer.headers["X-Request-ID"], time.monotonic() + WITHIN_S
    while True:
        found = [one for one in behind.iis.worker.started if sought in one.output()]
        if found:
            return found[0]
        assert time.monotonic() < give_up_at, behind.iis.output()
        time.sleep(0.02)


def told_by_the_pool(pool: Path, words: str) -> None:
    """Returns when the pool's trail has a life-cycle event with these words."""
    give_up_at = time.monotonic() + WITHIN_S
    while not any(words in str(event.get("message")) for event in KeyedProject(pool, {}).audit_events()):
        assert time.monotonic() < give_up_at, words
        time.sleep(0.02)


def whoami_past_iis(process: ServerProcess, token: str, key: str) -> int:
    """The status of a GET straight at the port of one of them."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=WITHIN_S)
    try:
        connection.request("GET", "/whoami", headers={"X-API-Key": key, "MS-ASPNETCORE-TOKEN": token})
        return connection.getresponse().status
    finally:
        connection.close()


def test_iis_warms_the_first_alone_and_each_next_is_started_by_a_caller(behind: Behind) -> None:
    assert len(behind.iis.worker.started) == 1
    answers = [behind.infer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4, behind.iis.output()
    assert len({process_of(answer.body) for answer in answers}) == 1, "one model for both"
    ports = [answered_by(behind, answer).port for answer in answers]
    assert ports[0] != ports[1]
    assert ports[:2] == ports[2:]


def test_each_has_a_token_of_its_own(behind: Behind) -> None:
    one, other = [behind.infer() and process for process in behind.iis.worker.started]
    key = behind.project.keys["ann"]
    assert whoami_past_iis(one, one.pairing, key) == 200
    assert whoami_past_iis(one, other.pairing, key) == 400


def test_a_quota_is_counted_over_both(behind: Behind) -> None:
    """Two that counted apart would let eight of eight pass."""
    counted = replace(behind, key="counted")
    answers = [counted.infer() for _ in range(8)]
    assert [answer.status for answer in answers[:4]] == [200] * 4
    refused = [answer for answer in answers if answer.status != 200]
    assert {answer.status for answer in refused} == {429}
    assert all(answer.headers["Retry-After"] for answer in refused)


def test_what_one_has_taken_the_other_can_take_back(behind: Behind, pool: Path) -> None:
    mine = {"X-Request-ID": "mine"}
    with behind.under_way(pool, mine, milliseconds=HELD_MS) as slow:
        cancelled = behind.ask("POST", "/v2/requests/mine/cancel", {"Content-Length": "0"})
        assert json.loads(cancelled.body) == {"cancelled": 1}
        assert slow.result().status == 499


def test_one_is_killed_the_other_answers_on_and_what_was_answered_is_in_the_trail(behind: Behind, pool: Path) -> None:
    single, answers = replace(behind, key="single"), [behind.infer(), behind.infer()]
    victim, other = (answered_by(behind, answer) for answer in answers)
    assert victim.process is not None
    with single.under_way(pool, milliseconds=HELD_MS) as slow:
        refused = single.infer()
        assert (refused.status, json.loads(refused.body)["code"]) == (429, "quota_exceeded"), "through the other"
        kill(victim.process.pid)
        assert slow.result().status == 502
    told_by_the_pool(pool, " of key:single to sleeping:1 was under way when ")
    assert victim.process.wait(WITHIN_S)
    answers += [behind.infer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 6, behind.iis.output()
    successor = behind.iis.worker.started[-1]
    assert {answered_by(behind, answer).port for answer in answers[2:]} == {other.port, successor.port}
    assert successor.pairing != victim.pairing
    assert [code for code, _ in behind.iis.worker.log if code == 1030] == [1030]
    answers.append(single.infer())
    assert answers[-1].status == 200, "the pool has taken back what the dead one held"
    in_the_trail = [event["api"]["request"]["uid"] for event in behind.requests()]
    assert all(in_the_trail.count(answer.headers["X-Request-ID"]) == 1 for answer in [*answers, refused])
    behind.iis.worker.stop()
    assert [code for code, _ in behind.iis.worker.log][-4:] == [1006, 1030] * 2, "one after the other"
    report = verify(behind.project.folder / ".torchgate" / "audit")
    assert report.is_whole, report.problems
    assert sorted(chain.is_closed for chain in report.chains) == [False, True, True], "one for each process"
