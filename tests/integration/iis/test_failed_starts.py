"""A gate that can't start: what IIS answers, what is left in its event log, and when it tries again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.rigs.iis_module.configuration import read_application
from tests.rigs.iis_module.iis import Iis
from tests.rigs.iis_module.module_answers import ModuleFailed
from tests.rigs.iis_module.process_manager import ProcessManager
from tests.rigs.iis_module.server_process import MAX_PROCESSES, Log
from tests.rigs.iis_project import render, write_project

LIVE = "/v2/health/live"
BY_THE_MODULE = b"IIS 502.5"
LAUNCHER = """
import os, subprocess, sys, time
LISTENS = "import os, socket, time; s = socket.create_server(('127.0.0.1', int(os.environ['ASPNETCORE_PORT'])));"
for left in reversed(range(int(sys.argv[1]))):
    code = ("import time;" if left else LISTENS) + "time.sleep(600)"
    subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.DEVNULL)
time.sleep(600)
"""

pytestmark = pytest.mark.timeout(900)


class Minutes:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def rendered(folder: Path, *changes: tuple[str, str]) -> Path:
    """A project's web.config, with these changes."""
    folder = render(write_project(folder / "a project", {}, "ancm").folder, "--gate")
    web_config = folder / "web.config"
    text = web_config.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    web_config.write_text(text, encoding="utf-8")
    return folder


def answer_of_a_failed_start(iis: Iis) -> str:
    """The code of our own answer, when the process has ended, too."""
    answer = iis.ask("GET", LIVE)
    assert iis.worker.process is not None
    assert iis.worker.process.wait(240)
    return str(json.loads(answer.body)["code"])


def test_a_mistake_is_told_and_after_a_few_starts_the_module_waits_for_a_minute(tmp_path: Path) -> None:
    """It listens before it has read its settings, so that the answer to each start is our own."""
    folder = rendered(tmp_path, ("<aspNetCore ", '<aspNetCore rapidFailsPerMinute="1" '))
    settings = tmp_path / "a project" / "torchgate.toml"
    right = settings.read_text(encoding="utf-8")
    settings.write_text(right.replace("front_door", "front_dor"), encoding="utf-8")
    clock = Minutes()
    with Iis(read_application(folder), clock=clock, shutdown_delay_s=0) as iis:
        assert [answer_of_a_failed_start(iis) for _ in range(2)] == ["unavailable"] * 2
        settings.write_text(right, encoding="utf-8")
        assert iis.ask("GET", LIVE).body == BY_THE_MODULE
        said = [one.output() for one in iis.worker.started]
        assert len(said) == 2
        assert all("front_dor" in text and "front_door" in text for text in said), said
        assert [code for code, _ in iis.worker.log] == [1001, 1030, 1001, 1030, 1003]
        clock.now = 61.0
        assert iis.ask("GET", LIVE).status == 200, iis.output()


def test_without_its_python_nothing_starts(tmp_path: Path) -> None:
    folder = rendered(tmp_path, ('processPath="', 'processPath="no such '))
    with Iis(read_application(folder), shutdown_delay_s=0) as iis:
        assert iis.ask("GET", LIVE).body == BY_THE_MODULE
        assert [code for code, _ in iis.worker.log] == [1000, 1000, 1020]


@contextmanager
def launched(folder: Path, children: int) -> Iterator[tuple[ProcessManager, Log]]:
    """A module whose process starts others, of which the last listens, and which none of them ends when asked to."""
    (folder / "launcher.py").write_text(LAUNCHER, encoding="utf-8")
    log: Log = []
    application = replace(
        read_application(rendered(folder)),
        process_path=sys.executable,
        arguments=f'-S "{folder / "launcher.py"}" {children}',
        rapid_fails_per_minute=0,
        shutdown_limit_s=0.5,
    )
    manager = ProcessManager(application, {}, log, time.monotonic, [])
    try:
        yield manager, log
    finally:
        manager.stop()


@pytest.mark.linux("who owns a listening port Wine does not say")
def test_a_launcher_may_have_sixteen_processes_in_its_job(tmp_path: Path) -> None:
    with launched(tmp_path, MAX_PROCESSES - 1) as (manager, log):
        started = manager.next_process()
        assert started.process is not None
        assert len(started.process.members()) == MAX_PROCESSES
    assert [code for code, _ in log] == [1001, 1005], "asked, then killed with all of them"


@pytest.mark.linux("who owns a listening port Wine does not say")
def test_with_one_more_it_is_not_started_and_tried_again_by_each_request(tmp_path: Path) -> None:
    """A start that failed is no rapid fail: those are processes that had listened, and ended by themselves."""
    with launched(tmp_path, MAX_PROCESSES) as (manager, log):
        for _ in range(2):
            with pytest.raises(ModuleFailed, match=r"502\.5"):
                manager.next_process()
    assert [code for code, _ in log] == [1000, 1000, 1020] * 2
    assert f"its job has {MAX_PROCESSES + 1}" in log[0][1]
