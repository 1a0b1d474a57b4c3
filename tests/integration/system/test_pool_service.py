"""The pool as a service of this machine: Windows' service control manager, or systemd, starts and stops it."""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.pool_service import installed_pool, log_of
from tests.rigs.processes import children_of, is_alive, left_of
from tests.rigs.server_process import ServerProcess
from tests.rigs.user_mode_linux import run_under_systemd

from torchgate.cli import main
from torchgate.services_here import services

NAME = "torchgate-test-pool"
ROOT = Path(__file__).parents[3]
MODELS = ROOT / "tests" / "models" / "owner"
IS_SYSTEMD = Path("/run/systemd/system").is_dir() and "TORCHGATE_TEST_SYSTEMD" in os.environ

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(1200)]

if sys.platform == "win32" or IS_SYSTEMD:

    @pytest.fixture
    def project(tmp_path: Path) -> Iterator[KeyedProject]:
        """Installed."""
        model = ((MODELS / "model.toml").read_text("utf-8"), (MODELS / "1" / "model.py").read_text("utf-8"))
        folder = tmp_path / "a prøject of ours"
        folder.mkdir()
        made = KeyedProject.write(folder, {"owner": model}, ("ada",))
        with installed_pool(folder, NAME, tmp_path / "its own state"):
            yield made

    def double(gate: ServerProcess, key: str, number: int) -> int:
        """The model's answer, or the status of a refusal."""
        placed = {"name": "number", "shape": [1, 1], "datatype": "INT64", "data": [number]}
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        body = json.dumps({"inputs": [placed]}).encode()
        request = urllib.request.Request(f"{gate.url}/v2/models/owner/infer", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return int(json.load(answer)["outputs"][0]["data"][0])
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return -refusal.code

    def test_gates_are_answered_from_its_start_to_its_stop(project: KeyedProject, tmp_path: Path) -> None:
        state = tmp_path / "its own state"
        assert main(["service", "start", "--name", NAME]) == 0, log_of(state)
        seen = services().status(NAME)
        assert (seen.state, is_alive(seen.pid)) == ("running", True)
        workers: list[psutil.Process] = []
        with ServerProcess.start(project.folder, command="gate") as gate:
            gate.wait_ready()
            assert double(gate, project.keys["ada"], 20) == 41
            workers = children_of(seen.pid, recursive=True)
            assert workers
            assert main(["service", "stop", "--name", NAME]) == 0
            assert services().status(NAME).state == "stopped"
            assert double(gate, project.keys["ada"], 20) == -503
        assert not left_of(workers), "its workers end with it"
        assert len(list((state / "audit").glob("*.jsonl"))) == 1, "its audit chain is in its own folder"
        if sys.platform == "win32":
            assert "the pool is open for gates" in log_of(state)
            assert "the pool stops" in log_of(state)

    def test_a_mistake_in_the_project_is_said_where_the_service_can_say_it(project: KeyedProject, tmp_path: Path):
        settings = project.folder / "torchgate.toml"
        settings.write_text(f"{settings.read_text('utf-8')}\nnonsense = 1\n", encoding="utf-8")
        assert main(["service", "start", "--name", NAME]) == 1
        assert (services().status(NAME).state, services().status(NAME).exit_code) == ("stopped", 1)
        if sys.platform == "win32":
            assert "nonsense" in log_of(tmp_path / "its own state")

else:

    @pytest.mark.linux("systemd is Linux's")
    def test_all_of_it_holds_where_systemd_runs_the_machine(tmp_path: Path):
        """A real systemd is the first process of user-mode Linux."""
        options = ["-q", "-p", "tests.skip_policy", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inside'}"]
        command = ["env", "TORCHGATE_TEST_SYSTEMD=1", sys.executable, "-m", "pytest", *options, str(Path(__file__))]
        ran = run_under_systemd(command, ROOT, tmp_path, timeout_s=1100)
        assert ran.code == 0, ran.output
        assert re.search(r"\b2 passed", ran.output), ran.output
        assert "skipped" not in ran.output
