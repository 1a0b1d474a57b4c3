"""After a recycle no caller meets a cold model: IIS's own warm-up request waits for it, and IIS waits for that."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from tests.rigs.behind_iis import Behind
from tests.rigs.iis_module.iis import Answer, Iis
from tests.rigs.iis_project import render, write_project
from tests.rigs.sleeping_model import process_of, sleeping

CALLERS = 3
LOAD_S = 1.0
WITHIN_S = 120.0

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """A server with its own models, on a machine that has room for them twice."""
    project = write_project(tmp_path_factory.mktemp("cold") / "serve", sleeping(LOAD_S), "ancm")
    folder = render(project.folder)
    host = folder / "applicationHost.part.config"
    text = host.read_text(encoding="utf-8")
    assert 'disallowOverlappingRotation="true"' in text, "by itself a server with models does not overlap"
    host.write_text(text.replace('disallowOverlappingRotation="true"', ""), encoding="utf-8")
    with Iis.started(folder, shutdown_delay_s=0.05) as iis:
        yield Behind("ancm", project, iis)


def answers_over_a_recycle(behind: Behind) -> list[Answer]:
    """What callers who ask without pause got, from before until well after."""
    is_over = threading.Event()

    def ask_on() -> list[Answer]:
        answers = []
        while not is_over.is_set():
            answers.append(behind.infer(5))
        return answers

    with ThreadPoolExecutor(CALLERS) as threads:
        asking = [threads.submit(ask_on) for _ in range(CALLERS)]
        try:
            behind.iis.recycle()
        finally:
            is_over.set()
        return [answer for one in asking for answer in one.result()]


def test_every_caller_is_answered_by_a_warm_model(behind: Behind) -> None:
    """The first request to the new server finds it warm, though loading took seconds in which callers asked on."""
    old = behind.model()
    answers = answers_over_a_recycle(behind)
    assert {answer.status for answer in answers} == {200}, [a for a in answers if a.status != 200][:1]
    new = behind.model()
    assert {process_of(answer.body) for answer in answers} | {new} == {old, new}
    assert new != old


def test_after_app_offline_whoever_asks_for_the_warm_up_first_spares_the_others(behind: Behind) -> None:
    """The module asks for no warm-up when the file goes away: the next request starts the server, whosever it is."""
    old, give_up_at = behind.model(), time.monotonic() + WITHIN_S
    with behind.offline(b"Back at eight."):
        while behind.infer().status != 503:
            assert time.monotonic() < give_up_at, behind.iis.output()
    while behind.ask("GET", "/warm-up").status != 200:
        assert time.monotonic() < give_up_at, behind.iis.output()
    answers = [behind.infer() for _ in range(CALLERS)]
    assert {answer.status for answer in answers} == {200}, behind.iis.output()
    assert old not in {process_of(answer.body) for answer in answers}


@pytest.mark.linux("two more starts of torch, which under Wine take half a minute and show the same")
@pytest.mark.parametrize("change", [{"warm_up_paths": ()}, {"overlaps": False}])
def test_without_warm_up_or_overlap_callers_are_told_to_come_back(behind: Behind, change: dict[str, Any]) -> None:
    """What the test above would see if `/warm-up` did not wait; and how a server with models is rendered by itself."""
    as_rendered = behind.iis.application
    behind.iis.application = replace(as_rendered, **change)
    answers = [*answers_over_a_recycle(behind), behind.infer()]
    behind.iis.application = as_rendered
    assert 503 in {answer.status for answer in answers} <= {200, 503}
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status == 503)
    assert behind.ask("GET", "/warm-up").status == 200
    assert behind.infer().status == 200
