"""wfastcgi itself, started as IIS's FastCGI module starts it, with the web.config that `iis render` writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.rigs.keyed_project import KeyedProject
from tests.rigs.wfastcgi_site import WfastcgiSite

from torchgate.telemetry.audit_verify import verify

pytestmark = [
    pytest.mark.windows("wfastcgi is for Windows; tests/integration/server/test_wsgi_server.py has other servers"),
    pytest.mark.timeout(900),
]

if sys.platform == "win32":
    import win32api
    from tests.rigs.fastcgi_process import FastCgiProcess

    from torchgate.windows.access_list import own_sid

MODELS = Path(__file__).parents[2] / "models" / "owner"
END_S = 240.0
SETTINGS = r"""
[identity.windows]
enabled = true
paths = ["/"]
allow_own_account = true
"""


class Iis:
    """A project, and its site.

    Args:
        folder: of the project.
    """

    def __init__(self, folder: Path) -> None:
        self.project = project(folder)
        self.site = WfastcgiSite(folder)
        self.key = {"x_api_key": self.project.keys["ada"]}


def project(folder: Path) -> KeyedProject:
    """One model, one key, and this test's own account."""
    model = ((MODELS / "model.toml").read_text("utf-8"), (MODELS / "1" / "model.py").read_text("utf-8"))
    written = KeyedProject.write(folder, {"owner": model}, ("ada",), SETTINGS)
    file = folder / "torchgate.toml"
    text = file.read_text("utf-8").replace('bind = "127.0.0.1:0"', 'front_door = "fastcgi"')
    file.write_text(text.replace('"key:ada"]', f'"key:ada", "sid:{own_sid()}"]'), encoding="utf-8")
    return written


@pytest.fixture
def iis(tmp_path: Path) -> Iis:
    """One site; its folder has a space and letters beyond ASCII."""
    folder = tmp_path / "behind wfästcgi"
    folder.mkdir()
    return Iis(folder)


def account() -> str:
    """Ours, as IIS writes it."""
    return f"{win32api.GetComputerName()}\\{win32api.GetUserName()}"


def whole(iis: Iis) -> int:
    """How many chains there are, each of them whole and properly ended."""
    folder = iis.project.folder / ".torchgate" / "audit"
    report = verify(folder)
    assert report.problems == ()
    return len(list(folder.glob("*.jsonl")))


@pytest.mark.identity_case("fastcgi", "REMOTE_USER of Windows authentication, through wfastcgi", "200, the SID")
def test_each_process_is_a_whole_gate_and_ends_its_chain_when_iis_asks(iis: Iis):
    """Two at once, as IIS starts them; no pool: nothing here needs a model."""
    with iis.site.start() as first, iis.site.start() as second:
        for process in (first, second):
            by_key = iis.site.get(process, "/whoami", **iis.key)
            assert (by_key.status, by_key.errors) == (200, b""), (by_key, iis.site.said)
            assert json.loads(by_key.body)["key"] == "key:ada"
        by_windows = iis.site.get(first, "/whoami", user=account())
        assert by_windows.status == 200, iis.site.said
        assert json.loads(by_windows.body)["key"] == own_sid()
        assert json.loads(by_windows.body)["method"] == "windows"
        assert iis.site.get(first, "/whoami").status == 401
        assert iis.site.get(first, "/whoami", user=account(), **iis.key).status == 400, "one credential a request"
        assert iis.site.get(first, "/whoami", user="CORP\\????").status == 401
        assert iis.site.get(first, "/whoami", remote_user=account()).status == 401, "a header of the client's"
        assert iis.site.get(first, "/v2/health/live", x_original_url="/whoami", **iis.key).status == 400
        assert iis.site.get(first, "/v2/health/ready").status == 503
        away = iis.site.double(second, 3, **iis.key)
        assert (away.status, away.headers["retry-after"]) == (503, "2")
        first.say_that_it_ends()
        assert first.wait(END_S) == 0
        second.hang_up()
        assert second.wait(END_S) == 0
    assert whole(iis) == 2
    stops = [event for event in iis.project.audit_events() if "(wsgi) stops" in event.get("message", "")]
    assert len(stops) == 2, "each chain has its end"
    sids = [event for event in iis.project.audit_events() if own_sid() in json.dumps(event.get("actor", {}))]
    assert sids, "the audit trail names the SID"


def test_a_project_that_is_wrong_is_503_and_the_log_says_why(iis: Iis):
    (iis.project.folder / "torchgate.toml").write_text("[gate]\nfront_dor = 1\n", encoding="utf-8")
    with iis.site.start() as process:
        answer = iis.site.get(process, "/v2/health/live")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert "front_dor" not in answer.body.decode()
        assert "front_dor" in iis.site.said


APPLICATION = """
from pathlib import Path

import flask

import torchgate

app = flask.Flask(__name__)
torchgate.Gate(Path(__file__).parent, engine="pool").guard_flask(app)


@app.post("/twice")
def twice():
    caller = torchgate.blocking_caller()
    number = caller.infer("owner", {"number": [[flask.request.get_json()]]})["double"]
    return {"for": caller.principal.key, "number": int(number[0, 0])}
"""
"""A Flask application of somebody's own, in the project's folder."""


@pytest.mark.torch_start
def test_two_processes_share_the_models_of_one_pool_and_survive_it(iis: Iis):
    def start_pool() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "torchgate", "pool", str(iis.project.folder)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, **quiet)  # type: ignore[call-overload, no-any-return]

    def wait_ready(process: FastCgiProcess) -> None:
        """As IIS's Application Initialization asks: the answer comes when the model is loaded."""
        warm_up = {**iis.site.variables("/warm-up"), "REMOTE_ADDR": "127.0.0.1"}
        assert process.ask(warm_up).status == 200, iis.site.said

    (iis.project.folder / "application.py").write_text(APPLICATION, encoding="utf-8")
    pool = start_pool()
    try:
        with iis.site.start() as first, iis.site.start() as second:
            for process in (first, second):
                wait_ready(process)
                answer = iis.site.double(process, 20, **iis.key)
                assert answer.status == 200, (answer, iis.site.said)
                assert json.loads(answer.body)["outputs"][0]["data"] == [41]
            own = WfastcgiSite(iis.project.folder, "application.app")
            with own.start() as third:
                answer = third.ask(own.variables("/twice", user=account(), method="POST", body=b"20"), b"20")
                assert json.loads(answer.body) == {"for": own_sid(), "number": 41}, (answer, iis.site.said)
            second.end()
            assert iis.site.double(first, 3, **iis.key).status == 200, "nobody misses a process that was killed"
            pool.kill()
            pool.wait(END_S)
            away = iis.site.double(first, 3, **iis.key)
            assert (away.status, away.headers["retry-after"]) == (503, "2")
            pool = start_pool()
            wait_ready(first)
            assert json.loads(iis.site.double(first, 4, **iis.key).body)["outputs"][0]["data"] == [9]
    finally:
        pool.kill()
        pool.wait(END_S)
