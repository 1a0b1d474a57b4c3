"""A real server beside its lock: it listens at once, and is ready when the installation was found to be what it was."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.rigs.server_process import ServerProcess

from torchgate.engine.pin.lock import read_lock
from torchgate.project import create_project

pytestmark = [pytest.mark.torch_start, pytest.mark.timeout(1200)]


def answer(server: ServerProcess, path: str, *, name: str = "", body: bytes | None = None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {server.token(name)}"} if name else {}
    request = urllib.request.Request(f"{server.url}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=240) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_server_is_ready_exactly_where_it_was_locked(tmp_path: Path):
    folder = tmp_path / "project ü"
    create_project(folder)
    command = [sys.executable, "-X", "utf8", "-m", "torchgate", "pin", str(folder)]
    done = subprocess.run(command, capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr.decode()
    with ServerProcess.start(folder) as server:
        # The survey imports torch, and the door is open long before.
        status, said = answer(server, "/v2/health/ready")
        assert (status, said["ready"]) == (503, False)
        assert "is being found out" in said["error"]
        server.wait_ready()
        assert answer(server, "/v2/models/doubler/ready", name="analyst") == (200, {"name": "doubler", "ready": True})
    file = folder / "torchgate.lock"
    lock = read_lock(file)
    assert lock is not None
    file.write_bytes(file.read_bytes().replace(lock.torch.git.encode(), b"feedface"))
    with ServerProcess.start(folder) as server:
        status, said = after(server, "/v2/models/doubler/ready", "is loading")
        assert status == 503
        assert f"torch.git: locked feedface, seen {lock.torch.git}. Install the torch that is locked" in said["error"]
        why = "Not ready: the installation is not what torchgate.lock says: torch.git."
        assert answer(server, "/v2/health/ready") == (503, {"ready": False, "error": why})
    assert any("feedface" in json.dumps(event) for event in server.audit_events()), "the trail knows why"


def after(server: ServerProcess, path: str, passing: str) -> tuple[int, Any]:
    """The first answer that does not say this any more."""
    give_up_at = time.perf_counter() + 500
    while passing in json.dumps(found := answer(server, path, name="analyst")):
        assert time.perf_counter() < give_up_at, found
        time.sleep(0.1)
    return found
