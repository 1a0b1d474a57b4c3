"""wfastcgi itself, started as IIS's FastCGI module starts it, with the web.config that `iis render` writes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.rigs.fastcgi_records import FastCgiAnswer
from tests.rigs.keyed_project import KeyedProject

from torchgate.iis.facts import ServerFacts
from torchgate.iis.lint_question import Site
from torchgate.iis.plan import Plan
from torchgate.iis.web_config import web_config
from torchgate.telemetry.audit_verify import verify

pytestmark = [
    pytest.mark.windows("wfastcgi is for Windows; tests/integration/server/test_wsgi_server.py has other servers"),
    pytest.mark.timeout(300),
]

if sys.platform == "win32":
    import win32api
    from tests.rigs.fastcgi_process import FastCgiProcess

    from torchgate.windows.access_list import own_sid

MODELS = Path(__file__).parents[2] / "models" / "owner"
END_S = 30.0
SETTINGS = r"""
[identity.windows]
enabled = true
paths = ["/"]
allow_own_account = true
"""


def wfastcgi() -> str:
    """Its file, which must not be imported: it is a program."""
    found = importlib.util.find_spec("wfastcgi")
    if found is None or found.origin is None:
        pytest.skip("needs wfastcgi: pip install wfastcgi")
    return found.origin


class Iis:
    """A site with one application, `/Models`, behind wfastcgi."""

    def __init__(self, folder: Path) -> None:
        self.project = project(folder)
        self.site = folder / "the site"
        self.site.mkdir()
        facts = ServerFacts(front_door="fastcgi", has_own_pool=True)
        plan = Plan(facts, Site("s", "/Models"), "p", sys.executable, str(folder), str(self.site), command="gate")
        (self.site / "web.config").write_text(web_config(plan), encoding="utf-8")
        self.log = folder / "wsgi.log"

    def start(self) -> FastCgiProcess:
        """One more process."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TORCHGATE_", "WSGI_"))}
        return FastCgiProcess([sys.executable, wfastcgi()], {**inherited, "WSGI_LOG": str(self.log)}, self.site)

    def variables(
        self, path: str, *, user: str = "", body: bytes = b"", method: str = "GET", **headers: str
    ) -> dict[str, str]:
        """As IIS gives them: the path is decoded, and stands in PATH_INFO and SCRIPT_NAME whole."""
        by_iis = {"AUTH_TYPE": "Negotiate", "AUTH_USER": user, "LOGON_USER": user, "REMOTE_USER": user}
        nobody = dict.fromkeys(by_iis, "")
        return {
            **(by_iis if user else nobody),
            "APPL_MD_PATH": "/LM/W3SVC/1/ROOT/Models",
            "APPL_PHYSICAL_PATH": f"{self.site}\\",
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": "application/json" if body else "",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "HTTPS": "on",
            "HTTP_CONTENT_LENGTH": str(len(body)),
            "HTTP_HOST": "localhost",
            "INSTANCE_ID": "1",
            "INSTANCE_META_PATH": "/LM/W3SVC/1",
            "LOCAL_ADDR": "127.0.0.1",
            "PATH_INFO": f"/models{path}",
            "PATH_TRANSLATED": f"C:\\inetpub\\wwwroot\\models{path}",
            "QUERY_STRING": "",
            "REMOTE_ADDR": "192.0.2.7",
            "REMOTE_HOST": "192.0.2.7",
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": f"/models{path}",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "443",
            "SERVER_PORT_SECURE": "1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_SOFTWARE": "Microsoft-IIS/10.0",
            "URL": f"/models{path}",
            **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
        }

    def get(self, process: FastCgiProcess, path: str, *, user: str = "", **headers: str) -> FastCgiAnswer:
        """A GET below the application."""
        return process.ask(self.variables(path, user=user, **headers))

    def double(self, process: FastCgiProcess, number: int, **headers: str) -> FastCgiAnswer:
        """An inference."""
        placed = {"name": "number", "shape": [1, 1], "datatype": "INT64", "data": [number]}
        body = json.dumps({"inputs": [placed]}).encode()
        return process.ask(self.variables("/v2/models/owner/infer", method="POST", body=body, **headers), body)

    @property
    def key(self) -> dict[str, str]:
        """Ada's."""
        return {"x_api_key": self.project.keys["ada"]}


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
    with iis.start() as first, iis.start() as second:
        for process in (first, second):
            by_key = iis.get(process, "/whoami", **iis.key)
            assert (by_key.status, by_key.errors) == (200, b""), (by_key, iis.log.read_text("utf-8"))
            assert json.loads(by_key.body)["key"] == "key:ada"
        by_windows = iis.get(first, "/whoami", user=account())
        assert by_windows.status == 200, iis.log.read_text("utf-8")
        assert json.loads(by_windows.body)["key"] == own_sid()
        assert json.loads(by_windows.body)["method"] == "windows"
        assert iis.get(first, "/whoami").status == 401
        assert iis.get(first, "/whoami", user=account(), **iis.key).status == 400, "one credential a request"
        assert iis.get(first, "/whoami", user="CORP\\????").status == 401
        assert iis.get(first, "/whoami", remote_user=account()).status == 401, "a header of the client's"
        assert iis.get(first, "/v2/health/live", x_original_url="/whoami", **iis.key).status == 400
        assert iis.get(first, "/v2/health/ready").status == 503
        away = iis.double(second, 3, **iis.key)
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
    with iis.start() as process:
        answer = iis.get(process, "/v2/health/live")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert "front_dor" not in answer.body.decode()
        assert "front_dor" in iis.log.read_text(encoding="utf-8")


@pytest.mark.torch_start
def test_two_processes_share_the_models_of_one_pool_and_survive_it(iis: Iis):
    def start_pool() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "torchgate", "pool", str(iis.project.folder)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, **quiet)  # type: ignore[call-overload, no-any-return]

    def wait_ready(process: FastCgiProcess) -> None:
        """As IIS's Application Initialization asks: the answer comes when the model is loaded."""
        warm_up = {**iis.variables("/warm-up"), "REMOTE_ADDR": "127.0.0.1"}
        assert process.ask(warm_up).status == 200, iis.log.read_text("utf-8")

    pool = start_pool()
    try:
        with iis.start() as first, iis.start() as second:
            for process in (first, second):
                wait_ready(process)
                answer = iis.double(process, 20, **iis.key)
                assert answer.status == 200, (answer, iis.log.read_text("utf-8"))
                assert json.loads(answer.body)["outputs"][0]["data"] == [41]
            second.end()
            assert iis.double(first, 3, **iis.key).status == 200, "nobody misses a process that was killed"
            pool.kill()
            pool.wait(END_S)
            away = iis.double(first, 3, **iis.key)
            assert (away.status, away.headers["retry-after"]) == (503, "2")
            pool = start_pool()
            wait_ready(first)
            assert json.loads(iis.double(first, 4, **iis.key).body)["outputs"][0]["data"] == [9]
    finally:
        pool.kill()
        pool.wait(END_S)
