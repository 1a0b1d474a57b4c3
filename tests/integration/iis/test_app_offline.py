"""app_offline.htm in the application's folder, as one lays it there to exchange files that a running gate holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rigs.behind_iis import Behind
from tests.rigs.iis_module.iis import Answer, Iis
from tests.rigs.iis_project import gate_of, render
from tests.rigs.processes import has_ended
from tests.rigs.sleeping_model import process_of

from torchgate.telemetry.audit_verify import verify

PAGE = "<html>Back at eight. Zurück um acht.</html>".encode()
WITHIN_S = 240.0

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=["ancm", "httpplatform"])
def behind(request: pytest.FixtureRequest, pool: Path) -> Iterator[Behind]:
    """A gate before a warm pool."""
    door = request.param
    project = gate_of(pool.parent / f"offline {door}", pool, door)
    with Iis.started(render(project.folder, "--gate"), door=door, shutdown_delay_s=0.05) as iis:
        yield Behind(door, project, iis)


def first(behind: Behind, status: int) -> Answer:
    """The first answer of this status, asked for again and again."""
    give_up_at = time.monotonic() + WITHIN_S
    while (answer := behind.infer()).status != status:
        assert time.monotonic() < give_up_at, (answer, behind.iis.output())
    return answer


def test_what_runs_is_answered_and_who_comes_then_gets_the_page(behind: Behind, pool: Path) -> None:
    model, process = behind.model(), behind.iis.worker.process
    assert process is not None
    members = process.members()
    with behind.under_way(pool) as slow, behind.offline(PAGE) as file:
        page = first(behind, 503)
        assert slow.result().status == 200, "it ended before anybody got the page"
        assert (page.headers["Content-Type"], page.body) == ("text/html", PAGE)
        assert behind.ask("GET", "/nowhere").body == PAGE, "whatever is asked for"
        file.write_bytes(b"Soon.")
        give_up_at = time.monotonic() + WITHIN_S
        while behind.infer().body != b"Soon.":
            assert time.monotonic() < give_up_at, "the module looks once in 200 ms"
        assert behind.iis.preload() == ["503.0"], "to IIS that is warm, too"
        assert process.wait(WITHIN_S)
        assert all(has_ended(pid) for pid in members), "nobody holds a file of the environment"
        report = verify(behind.project.folder / ".torchgate" / "audit")
        assert report.is_whole, report.problems
        assert [chain.is_closed for chain in report.chains] == [True]
        assert not list(behind.project.folder.rglob("*.live"))
        answered = behind.requests()
    assert [code for code, _ in behind.iis.worker.log] == [1001, 0, 1012, 1006, 1030, 0], behind.iis.worker.log
    assert [event["status_code"] for event in answered[-2:]] == ["200", "200"], "the page is no answer of ours"
    assert process_of(first(behind, 200).body) == model, "the pool has served on, and a caller starts the next gate"
    assert len(behind.iis.worker.started) == 2


@pytest.mark.parametrize("behind", ["ancm"], indirect=True)
def test_a_file_whose_name_begins_so_restarts_the_gate(behind: Behind) -> None:
    """The module compares as many characters as the name has: keep nothing but web.config in that folder.

    What is being handed over in that moment may be lost: the module has no queue of its own.
    """
    started = len(behind.iis.worker.started)
    give_up_at = time.monotonic() + WITHIN_S
    with behind.offline(b"", "App"):
        while len(behind.iis.worker.started) == started:
            assert behind.infer().status in {200, 502, 503}
            assert time.monotonic() < give_up_at
    assert first(behind, 200)
