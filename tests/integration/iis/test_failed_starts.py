"""A gate that can't start: what IIS answers, what is left in its event log, and when it tries again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.rigs.iis_module.configuration import read_application
from tests.rigs.iis_module.iis import Iis
from tests.rigs.iis_project import render, write_project

LIVE = "/v2/health/live"
BY_THE_MODULE = b"IIS 502.5"

pytestmark = pytest.mark.timeout(300)


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
    assert iis.worker.process.wait(60)
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
