"""Gates that a stand-in for IIS's modules starts from the web.config that `iis render` wrote, before one warm pool."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.rigs.iis_module.iis import Answer, Iis
from tests.rigs.iis_project import gate_of, render, running_pool, write_project
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.processes import has_ended
from tests.rigs.sleeping_model import INFER, process_of, question, sleeping

DOORS = ["ancm", "httpplatform", "httpplatform-1.2"]
PAIRED = ["ancm", "httpplatform"]
CALLERS = 4

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(300)]


@dataclass
class Behind:
    """A gate behind IIS, and who may ask it."""

    door: str
    project: KeyedProject
    iis: Iis

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """As ann."""
        return self.iis.ask(method, path, {"X-API-Key": self.project.keys["ann"], **(headers or {})}, body)

    def infer(self, milliseconds: int = 0, headers: Mapping[str, str] | None = None) -> Answer:
        """A run of the model."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self.ask("POST", INFER, sent, question(milliseconds))

    def requests(self) -> list[dict]:
        """Audit events of requests of a model."""
        return [event for event in self.project.audit_events() if event.get("class_uid") == 6003]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The models' process, for all."""
    folder = tmp_path_factory.mktemp("iis") / "pöol"
    write_project(folder, sleeping(), "direct")
    with running_pool(folder):
        yield folder


@pytest.fixture(scope="module", params=DOORS)
def behind(request: pytest.FixtureRequest, pool: Path) -> Iterator[Behind]:
    """A warm gate, mounted as an application below its site."""
    door = request.param
    project = gate_of(pool.parent / f"gate of {door}", pool, door)
    folder = render(project.folder, "--gate", application="/Models")
    with Iis.started(folder, door=door, shutdown_delay_s=0.05) as iis:
        yield Behind(door, project, iis)


def is_paired(behind: Behind) -> bool:
    return behind.door in PAIRED


def test_a_caller_is_answered_and_known(behind: Behind) -> None:
    answer = behind.infer(headers={"Rig-Client-Address": "203.0.113.9"})
    assert answer.status == 200, behind.iis.output()
    assert answer.headers["X-Request-ID"]
    event = behind.requests()[-1]
    assert event["actor"]["user"]["uid"] == "key:ann"
    assert event["src_endpoint"]["ip"] == ("203.0.113.9" if is_paired(behind) else "127.0.0.1")


def test_a_recycle_under_load_fails_nobody_and_loads_no_model_again(behind: Behind) -> None:
    """Behind HttpPlatformHandler 1.2 nothing asks a process to end: what runs in it then is lost, and nothing else."""
    before, is_over = process_of(behind.infer().body), threading.Event()

    def ask_on() -> list[Answer]:
        answers = []
        while not is_over.is_set():
            answers.append(behind.infer(20))
        return answers

    with ThreadPoolExecutor(CALLERS) as threads:
        asking = [threads.submit(ask_on) for _ in range(CALLERS)]
        try:
            old = behind.iis.recycle()
        finally:
            is_over.set()
        answers = [answer for one in asking for answer in one.result()]
    lost = [answer for answer in answers if answer.status != 200]
    assert len(lost) <= (0 if is_paired(behind) else CALLERS), (lost, behind.iis.output())
    assert {answer.status for answer in lost} <= {502}
    assert {process_of(answer.body) for answer in answers if answer.status == 200} == {before}
    assert old.process is not None
    assert has_ended(old.process.pid)
    assert (0, "preload: 200") in behind.iis.worker.log
    assert ((1006, "answered 202") in old.log) is is_paired(behind)
