"""On Windows python.exe of a virtual environment starts the interpreter as its child: IIS knows that one alone."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest
from tests.rigs.hosted_server import PAIRING, SHUTDOWN, WAIT_S, HostedServer, hosted
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.processes import children_of, left_of

LAUNCHER = Path(__file__).parents[2] / "rigs" / "venv_launcher.py"

pytestmark = pytest.mark.windows("elsewhere a virtual environment has no launcher")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> KeyedProject:
    """No models, one key."""
    folder = tmp_path_factory.mktemp("launched")
    (folder / "models").mkdir()
    return KeyedProject.write(folder, {}, ("ops",))


def started_by(server: HostedServer) -> psutil.Process:
    """The interpreter behind the launcher."""
    server.wait_listening()
    (child,) = children_of(server.process.pid)
    return child


def test_the_server_is_the_launchers_child_and_its_end_is_the_launchers(project: KeyedProject):
    with hosted(project.folder, program=(sys.executable, str(LAUNCHER))) as server:
        child = started_by(server)
        assert child.pid != server.process.pid
        assert server.ask("GET", "/v2/health/live", PAIRING)[0] == 200
        assert server.ask("POST", "/iisintegration", SHUTDOWN) == (202, b"")
        assert server.process.wait(WAIT_S) == 0
        assert left_of([child]) == []


def test_a_launcher_that_is_killed_leaves_no_server_behind(project: KeyedProject):
    """The module kills the process that it has started, and that is not the server."""
    with hosted(project.folder, program=(sys.executable, str(LAUNCHER))) as server:
        child = started_by(server)
        server.process.kill()
        assert left_of([child]) == []
