"""Services are made, started, stopped and taken away: by Windows' own manager, by systemd, and by the fake."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.services import MemoryServices
from tests.rigs import service_program
from tests.rigs.processes import is_alive, kill
from tests.rigs.user_mode_linux import run_under_systemd
from tests.rigs.wine import is_wine

from torchgate.contract.services import ServiceProblem, Services, ServiceSpec
from torchgate.services_here import interpreter, services

NAME = "torchgate-test"
ROOT = Path(__file__).parents[3]
LONG_S = 240
ODD = "two words, a $HOME, a %n and a \\"
IS_SYSTEMD = Path("/run/systemd/system").is_dir() and "TORCHGATE_TEST_SYSTEMD" in os.environ
REAL = [pytest.param("real", id="real")] if sys.platform == "win32" or IS_SYSTEMD else []

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(params=[pytest.param("fake", id="fake"), *REAL])
def kept(request: pytest.FixtureRequest) -> Iterator[Services]:
    found = MemoryServices() if request.param == "fake" else services()
    with contextlib.suppress(ServiceProblem):  # of a run that was killed
        found.uninstall(NAME, LONG_S)
    yield found
    with contextlib.suppress(ServiceProblem):
        found.uninstall(NAME, LONG_S)


@pytest.fixture
def starts(tmp_path: Path) -> Path:
    """The file that each start adds a line to."""
    return tmp_path / "stärts of it"


def spec(starts: Path, how: str = "well", delay_s: int = 100) -> ServiceSpec:
    python, environment = interpreter()
    return ServiceSpec(
        name=NAME,
        title="Torchgate's test",
        description="Does nothing.",
        command=(python, "-I", "-X", "utf8", service_program.__file__, NAME, str(starts), how, ODD),
        account="LocalSystem" if sys.platform == "win32" else "root",
        stop_timeout_s=120,
        environment=environment,
        folders=(str(starts.parent / "own"),),
        shared_folders=(str(starts.parent),),
        restart_delays_s=(delay_s, delay_s, delay_s),
    )


@pytest.mark.parametrize("verb", ["start", "stop", "uninstall", "status"])
def test_what_is_not_there_is_said_to_be_not_there(kept: Services, verb: str):
    arguments = (NAME,) if verb == "status" else (NAME, LONG_S)
    with pytest.raises(ServiceProblem, match=f"{NAME}.*no such service"):
        getattr(kept, verb)(*arguments)


def test_it_runs_from_start_to_stop_and_each_may_be_said_twice(kept: Services, starts: Path):
    kept.install(spec(starts))
    with pytest.raises(ServiceProblem, match="there already"):
        kept.install(spec(starts))
    assert kept.status(NAME).state == "stopped"
    assert "two words" in kept.status(NAME).command
    for _ in range(2):
        kept.start(NAME, LONG_S)
        assert kept.status(NAME).state == "running"
    pid = kept.status(NAME).pid
    assert pid
    for _ in range(2):
        kept.stop(NAME, LONG_S)
        assert (kept.status(NAME).state, kept.status(NAME).pid, kept.status(NAME).exit_code) == ("stopped", 0, 0)
    if not isinstance(kept, MemoryServices):
        assert not is_alive(pid), "it is stopped when its process has ended"
        assert starts.read_text("utf-8") == f"{pid} {[ODD]}\n", "each argument arrives as it was said"
        assert (starts.parent / "own").is_dir()


def test_what_ends_before_it_runs_has_failed_to_start(kept: Services, starts: Path):
    kept.install(spec(starts, "fails"))
    with pytest.raises(ServiceProblem):
        kept.start(NAME, LONG_S)
    assert (kept.status(NAME).state, kept.status(NAME).exit_code) == ("stopped", service_program.EXIT_CODE)


def test_one_that_runs_is_stopped_before_it_is_taken_away(kept: Services, starts: Path):
    kept.install(spec(starts))
    kept.start(NAME, LONG_S)
    kept.uninstall(NAME, LONG_S)
    with pytest.raises(ServiceProblem, match="no such service"):
        kept.status(NAME)


if REAL:

    def test_one_that_was_killed_is_started_again(starts: Path):
        if sys.platform == "win32" and is_wine():
            pytest.skip("Wine: its service control manager does not see that a service's process has ended")
        kept = services()
        kept.install(spec(starts, delay_s=1))
        try:
            kept.start(NAME, LONG_S)
            first = kept.status(NAME).pid
            kill(first)
            give_up_at = time.perf_counter() + LONG_S
            while kept.status(NAME).pid in (0, first) or kept.status(NAME).state != "running":
                assert time.perf_counter() < give_up_at, kept.status(NAME)
                time.sleep(0.1)
        finally:
            kept.uninstall(NAME, LONG_S)


if not IS_SYSTEMD:

    @pytest.mark.linux("systemd is Linux's")
    def test_all_of_it_holds_where_systemd_runs_the_machine(tmp_path: Path):
        """A real systemd is the first process of user-mode Linux."""
        options = ["-q", "-p", "tests.skip_policy", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inside'}"]
        options += ["-k", "not fake and (said_twice or ends_before or killed)"]
        command = ["env", "TORCHGATE_TEST_SYSTEMD=1", sys.executable, "-m", "pytest", *options, str(Path(__file__))]
        ran = run_under_systemd(command, ROOT, tmp_path, timeout_s=1100)
        assert ran.code == 0, ran.output
        assert re.search(r"\b3 passed", ran.output), ran.output
        assert "skipped" not in ran.output
