"""The Flask example is real: as a person starts it, and behind wfastcgi as IIS does."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rigs.wfastcgi_site import WfastcgiSite

from torchgate.telemetry.audit_verify import verify

if sys.platform == "win32":
    import win32api

    from torchgate.windows.access_list import own_sid

EXAMPLE = Path(__file__).parents[2] / "examples" / "flask_app"
WAIT_S = 240.0
BEHIND_IIS = """
[gate]
front_door = "fastcgi"

[models]
allow_code = ["doubler"]

[identity.windows]
enabled = true
paths = ["/"]
allow_own_account = true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example, as it comes from the repository."""
    copy = tmp_path / "a flask äpp"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns(".torchgate", "__pycache__"))
    return copy


class Running:
    """The example as a program.

    Args:
        folder: where it lies.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port: int = taken.getsockname()[1]
        self._folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(folder / "app.py")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PORT": str(self.port)},
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:  # Flask says so when it listens
            if b"Running on" in line:
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def ask(self, method: str, path: str, identity: str = "", body: object = None) -> tuple[int, bytes]:
        """Status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if identity:
            token = self._folder / ".torchgate" / "development" / f"{identity}.token"
            headers["Authorization"] = f"Bearer {token.read_text(encoding='ascii').strip()}"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    """Started, and ended for sure."""
    made = Running(folder)
    yield made
    made.process.kill()
    made.process.wait(WAIT_S)
    assert made.process.stderr is not None
    made.process.stderr.close()


@pytest.mark.torch_start
@pytest.mark.timeout(900)
def test_it_knows_who_asks_and_asks_models_for_them(folder: Path, running: Running):
    assert running.ask("GET", "/about") == (200, b"Doubles numbers, for analysts.")
    assert running.ask("GET", "/warm-up")[0] == 200, "the gate's own path: it waits for the model"
    assert running.ask("GET", "/me")[0] == 401
    status, body = running.ask("GET", "/me", "analyst")
    assert (status, json.loads(body)["roles"]) == (200, ["analyst"])
    status, body = running.ask("POST", "/double", "analyst", {"numbers": [1, 2, 3]})
    assert (status, json.loads(body)) == (200, {"for": "analyst", "doubled": [2.0, 4.0, 6.0]})
    assert running.ask("POST", "/double", "guest", {"numbers": [1]})[0] == 403
    assert running.ask("POST", "/double", "analyst", {"numbers": ["one"]})[0] == 400
    assert running.ask("POST", "/double", "analyst", {})[0] == 400, "no rows"
    assert running.ask("GET", "/report", "analyst")[0] == 403
    running.process.kill()
    running.process.wait(WAIT_S)
    audit = folder / ".torchgate" / "audit"
    assert verify(audit).problems == ()
    trail = b"".join(path.read_bytes() for path in audit.glob("*.jsonl"))
    assert b"development:analyst" in trail
    assert b"infer is granted to role analyst" in trail


@pytest.mark.windows("wfastcgi is for Windows")
@pytest.mark.timeout(900)
def test_behind_wfastcgi_its_routes_get_the_account_that_iis_names(folder: Path):
    """No pool runs: who is asking is known without one, and a question for a model says when to come back."""
    account = f"{win32api.GetComputerName()}\\{win32api.GetUserName()}"
    grants = f'\n[roles]\nanalyst = ["sid:{own_sid()}"]\n\n[[policy.grants]]\nroles = ["analyst"]\nmodels = ["*"]\n'
    settings = f'{BEHIND_IIS}{grants}actions = ["infer", "read"]\n'
    (folder / "torchgate.toml").write_text(settings, encoding="utf-8")
    site = WfastcgiSite(folder, "app.app")
    with site.start(APP_POOL="1") as process:
        about = site.get(process, "/about")
        assert (about.status, about.body) == (200, b"Doubles numbers, for analysts."), (about, site.said)
        me = site.get(process, "/me", user=account)
        assert (me.status, json.loads(me.body)["key"]) == (200, own_sid())
        assert site.get(process, "/me").status == 401
        assert site.get(process, "/about", x_original_url="/me").status == 400
        assert site.get(process, "/report", user=account).status == 403
        body = b'{"numbers": [1]}'
        away = process.ask(site.variables("/double", user=account, method="POST", body=body), body)
        assert (away.status, away.headers["retry-after"]) == (503, "2")
        process.hang_up()
        assert process.wait(240) == 0
    assert verify(folder / ".torchgate" / "audit").problems == ()
