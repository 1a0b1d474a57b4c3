"""wfastcgi as `doctor` finds it, on a Windows that lies in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.fakes.machine import FixedMachine
from tests.rigs.doctor_world import environment, only, verdicts, world_of

from torchgate.contract.diagnosis import Diagnosis
from torchgate.doctor import fast_cgi_checks, iis_checks
from torchgate.doctor.world import World

SETTINGS = '[gate]\nfront_door = "fastcgi"\nhosts = ["models.example.org"]\n'
LIMITS = {
    "instanceMaxRequests": "1000000", "activityTimeout": "400", "requestTimeout": "400",
    "signalBeforeTerminateSeconds": "60", "stderrMode": "ReturnGeneric500",
}  # fmt: skip


class Layout:
    """A project behind wfastcgi; each part of it can be another before it is written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "project ü"
        (self.project / "iis").mkdir(parents=True)
        (root / "logs").mkdir()
        self.python = self._file("venv/Scripts/python.exe")
        self.script = self._file("venv/Lib/site-packages/wfastcgi.py")
        self.settings = {
            "WSGI_HANDLER": "torchgate.wsgi.application",
            "TORCHGATE_PROJECT": str(self.project),
            "WSGI_LOG": str(root / "logs" / "torchgate.log"),
        }
        self.process = dict(LIMITS)
        self.has_host = True

    def _file(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        return path

    def world(self, settings: str = SETTINGS, *, is_windows: bool = True) -> World:
        """Written."""
        added = "".join(f'<add key="{key}" value="{value}" />' for key, value in self.settings.items())
        handler = (
            f'<add name="tg" path="*" verb="*" modules="FastCgiModule" scriptProcessor="{self.python}|{self.script}" />'
        )
        (self.project / "iis" / "web.config").write_text(
            f"<configuration><appSettings>{added}</appSettings><system.webServer><handlers>{handler}</handlers>"
            "</system.webServer></configuration>",
            encoding="utf-8",
        )
        config = self.root / "Windows" / "System32" / "inetsrv" / "config"
        config.mkdir(parents=True, exist_ok=True)
        limits = " ".join(f'{name}="{value}"' for name, value in self.process.items())
        process = f'<application fullPath="{self.python}" arguments="{self.script}" {limits} />'
        host = f"<configuration><system.webServer><fastCgi>{process}</fastCgi></system.webServer></configuration>"
        if self.has_host:
            (config / "applicationHost.config").write_text(host, encoding="utf-8")
        world = world_of(
            self.project,
            settings,
            machine=FixedMachine(),
            is_windows=is_windows,
            environment=environment(SYSTEMROOT=str(self.root / "Windows")),
        )
        ours = msgspec.structs.replace(world.interpreter, executable=self.python, prefix=self.root / "venv")
        return msgspec.structs.replace(world, interpreter=ours)

    def found(self) -> list[Diagnosis]:
        """What is said of it."""
        return list(fast_cgi_checks.fast_cgi(self.world()))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """All of it in order."""
    return Layout(tmp_path)


def test_a_sound_layout_is_sound_and_its_limits_are_said(layout: Layout):
    said = only(layout.found(), "ok").seen
    assert "activityTimeout 400, requestTimeout 400, instanceMaxRequests 1000000; a request may take" in said


def test_another_front_door_needs_none_of_it(layout: Layout):
    assert verdicts(fast_cgi_checks.fast_cgi(layout.world("[gate]\n"))) == ["skipped"]


@pytest.mark.parametrize(
    ("name", "value", "verdict", "said"),
    [
        ("activityTimeout", "70", "red", "activityTimeout is 70 s"),
        ("requestTimeout", "90", "red", "requestTimeout is 90 s"),
        ("instanceMaxRequests", "200", "amber", "instanceMaxRequests is 200"),
        ("stderrMode", "ReturnStdErrIn500", "amber", "stderrMode"),
    ],
)
def test_limits_that_contradict_ours_are_told_once(layout: Layout, name: str, value: str, verdict: str, said: str):
    layout.process[name] = value
    assert said in only(layout.found(), verdict).seen
    assert not [one for one in iis_checks.web_config(layout.world()) if said in one.seen], "by its own check alone"


def test_a_process_that_the_server_does_not_know_is_red(layout: Layout):
    layout.process = {}
    world = layout.world()
    text = layout.script.name
    host = Path(world.environment["SYSTEMROOT"], "System32", "inetsrv", "config", "applicationHost.config")
    host.write_text(host.read_text(encoding="utf-8").replace(text, "other.py"), encoding="utf-8")
    assert "no FastCGI application is" in only(fast_cgi_checks.fast_cgi(world), "red").seen


def test_what_only_administrators_may_read_is_skipped(layout: Layout):
    layout.has_host = False
    assert "an administrator can" in only(layout.found(), "skipped").seen


@pytest.mark.parametrize(
    ("part", "what"), [("python", "the Python of the handler"), ("script", "wfastcgi of the handler")]
)
def test_what_the_handler_names_must_be_there(layout: Layout, part: str, what: str):
    getattr(layout, part).unlink()
    assert what in only(layout.found(), "red").seen


def test_another_python_than_ours_is_told(layout: Layout):
    ours, layout.python = layout.python, layout.root / "other.exe"
    layout.python.write_bytes(b"")
    world = layout.world()
    world = msgspec.structs.replace(world, interpreter=msgspec.structs.replace(world.interpreter, executable=ours))
    assert f"IIS starts {layout.python}" in only(fast_cgi_checks.fast_cgi(world), "amber").seen


def test_another_project_is_told(layout: Layout):
    layout.settings["TORCHGATE_PROJECT"] = str(layout.root / "other")
    assert f"TORCHGATE_PROJECT is {layout.root / 'other'}" in only(layout.found(), "red").seen


def test_an_application_of_ones_own_must_be_found(layout: Layout):
    layout.settings["WSGI_HANDLER"] = "shop.app"
    assert "no folder of PYTHONPATH has a module shop" in only(layout.found(), "red").seen
    (layout.root / "code").mkdir()
    (layout.root / "code" / "shop.py").write_bytes(b"")
    layout.settings["PYTHONPATH"] = f"{layout.root / 'nowhere'};{layout.root / 'code'}"
    assert "red" not in verdicts(layout.found())


def test_without_a_log_the_reason_of_a_failure_is_lost(layout: Layout):
    del layout.settings["WSGI_LOG"]
    assert "no WSGI_LOG" in only(layout.found(), "amber").seen


@pytest.mark.parametrize("place", ["nowhere/x.log", "logs"])
def test_a_log_that_can_not_be_written_is_red(layout: Layout, place: str):
    layout.settings["WSGI_LOG"] = str(layout.root / place)
    assert "can't be written" in only(layout.found(), "red").seen


def test_a_log_is_no_part_of_what_is_served(layout: Layout):
    layout.settings["WSGI_LOG"] = str(layout.project / "iis" / "x.log")
    assert "whose files a handler may serve" in only(layout.found(), "red").seen
    assert not (layout.project / "iis" / "x.log").exists(), "to look makes nothing"


def test_a_log_without_a_whole_path_is_told(layout: Layout):
    layout.settings["WSGI_LOG"] = "x.log"
    assert "where that is depends" in only(layout.found(), "amber").seen


def test_a_file_that_changes_while_the_server_runs_ends_no_processes(layout: Layout):
    layout.process["monitorChangesTo"] = str(layout.root / "logs" / "torchgate.log")
    assert "each time requests are cut off" in only(layout.found(), "red").seen
    layout.process["monitorChangesTo"] = str(layout.project / "models" / "some" / "model.toml")
    assert "each time requests are cut off" in only(layout.found(), "red").seen
    layout.process["monitorChangesTo"] = str(layout.root / "nowhere")
    assert "no change is ever noticed" in only(layout.found(), "amber").seen
    layout.process["monitorChangesTo"] = str(layout.project / "iis" / "web.config")
    assert verdicts(layout.found()) == ["ok"]


def test_on_another_system_the_text_alone_is_examined(layout: Layout):
    found = fast_cgi_checks.fast_cgi(layout.world(is_windows=False))
    assert verdicts(found) == ["skipped", "skipped"]


@pytest.mark.parametrize("content", [b"", b"<configuration", b"\xff\xfe\x00", bytes(range(256))])
def test_garbage_is_skipped_with_the_reason(layout: Layout, content: bytes):
    world = layout.world()
    (layout.project / "iis" / "web.config").write_bytes(content)
    assert "can't be read" in only(fast_cgi_checks.fast_cgi(world), "skipped").seen
