"""IIS as `doctor` finds it, on a Windows that lies in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.machine import FixedMachine
from tests.rigs.doctor_world import environment, only, verdicts, world_of

from torchgate.cli import main
from torchgate.doctor import iis_checks
from torchgate.doctor.world import World

SETTINGS = '[gate]\nfront_door = "ancm"\nhosts = ["models.example.org"]\n'
MODULE = '<add name="AspNetCoreModuleV2" image="%windir%/System32/inetsrv/aspnetcorev2.dll" />'
SCHEMA = '<configSchema><sectionSchema name="system.webServer/aspNetCore" /></configSchema>'
HOST = """<configuration>
  <system.applicationHost>
    <applicationPools>
      <add name="models"><processModel maxProcesses="{copies}" /></add>
    </applicationPools>
    <sites>
      <site name="Other" id="2">
        <application path="/"><virtualDirectory path="/" physicalPath="D:\\other" /></application>
      </site>
      <site name="Default Web Site" id="1">
        <application path="/models" applicationPool="models">
          <virtualDirectory path="/" physicalPath="{folder}" />
        </application>
      </site>
    </sites>
  </system.applicationHost>
  <system.webServer><globalModules>{module}</globalModules></system.webServer>
</configuration>
"""


def windows(project: Path, *, module: str = MODULE, copies: int = 1, **changes: object) -> World:
    """A server whose Windows lies beside the project."""
    root = project.parent / "Windows"
    config = root / "System32" / "inetsrv" / "config"
    (config / "schema").mkdir(parents=True)
    (config / "schema" / "aspnetcore_schema_v2.xml").write_text(SCHEMA, encoding="utf-8")
    host = HOST.format(folder=project / "iis", module=module, copies=copies)
    (config / "applicationHost.config").write_text(host, encoding="utf-8")
    changes.setdefault("machine", FixedMachine(versions={"aspnetcorev2.dll": "19.0.24303.0"}))
    return world_of(
        project,
        SETTINGS,
        environment=environment(SYSTEMROOT=str(root), WINDIR=str(root)),
        is_windows=True,
        **changes,
    )


def render(project: Path) -> None:
    command = ["iis", "render", "--config", str(project), "--out", str(project / "iis"), "--application", "/models"]
    assert main([*command, "--python", "C:\\Python\\python.exe", "--project-path", "D:\\torchgate"]) == 0


def test_the_module_of_the_front_door_is_found_with_version_and_schema(tmp_path: Path):
    found = list(iis_checks.module(windows(tmp_path / "project")))
    assert verdicts(found) == ["ok", "ok"]
    assert "AspNetCoreModuleV2 19.0.24303.0" in found[1].seen


def test_a_module_that_is_not_installed_is_red(tmp_path: Path):
    found = only(iis_checks.module(windows(tmp_path / "project", module="")), "red")
    assert "AspNetCoreModuleV2 is not installed" in found.seen


def test_a_configuration_that_only_administrators_may_read_is_skipped_with_the_reason(tmp_path: Path):
    world = windows(tmp_path / "project")
    file = Path(world.environment["SYSTEMROOT"], "System32", "inetsrv", "config", "applicationHost.config")
    file.unlink()
    file.mkdir()
    assert "as an administrator" in only(iis_checks.module(world), "skipped").seen


@pytest.mark.parametrize(("settings", "is_windows"), [("", True), (SETTINGS, False)], ids=["direct", "Linux"])
def test_elsewhere_there_is_no_module_to_look_for(settings: str, is_windows: bool, tmp_path: Path):
    world = world_of(tmp_path, settings, is_windows=is_windows)
    assert verdicts(iis_checks.module(world)) == ["skipped"]


def test_what_render_wrote_and_the_servers_own_configuration_are_read_together(tmp_path: Path):
    """The application is found by its folder; its pool is a web garden."""
    project = tmp_path / "project ü"
    world = windows(project, copies=4)
    render(project)
    found = list(iis_checks.web_config(world))
    garden = [one for one in found if "web garden of 4" in one.seen]
    assert verdicts(garden) == ["red"]
    assert "applicationHost.config" in garden[0].place


def test_a_web_config_is_read_where_there_is_no_iis(tmp_path: Path):
    world = world_of(tmp_path, SETTINGS, is_windows=False)
    render(tmp_path)
    assert "red" not in verdicts(iis_checks.web_config(world))
    (tmp_path / "iis" / "web.config").write_text("<configuration", encoding="utf-8")
    assert "red" in verdicts(iis_checks.web_config(world))


def test_a_server_behind_iis_needs_a_web_config(tmp_path: Path):
    assert "iis render" in only(iis_checks.web_config(windows(tmp_path / "project")), "red").remedy
    elsewhere = world_of(tmp_path / "other", SETTINGS, is_windows=False)
    assert verdicts(iis_checks.web_config(elsewhere)) == ["skipped"]


EVENT = """<Event><System><Provider Name='Microsoft-Windows-WAS'/><EventID>5002</EventID>
<TimeCreated SystemTime='2025-10-04T07:00:00.000000000Z'/></System><EventData><Data Name='AppPoolID'>models</Data>
</EventData></Event>"""


def test_events_of_trouble_are_told(tmp_path: Path):
    world = world_of(tmp_path, machine=FixedMachine(logged=(EVENT,)), is_windows=True)
    assert "pool models" in only(iis_checks.events(world), "amber").seen
    assert verdicts(iis_checks.events(world_of(tmp_path, is_windows=True))) == ["ok"]
    assert verdicts(iis_checks.events(world_of(tmp_path, is_windows=False))) == ["skipped"]


def test_a_log_that_cannot_be_read_is_skipped_with_the_reason(tmp_path: Path):
    machine = FixedMachine(logged=OSError(5, "Access is denied"))
    found = only(iis_checks.events(world_of(tmp_path, machine=machine, is_windows=True)), "skipped")
    assert "Access is denied" in found.seen


@pytest.mark.parametrize(
    ("windows_enabled", "size", "verdict"), [("true", None, "amber"), ("true", 65534, "ok"), ("false", None, "ok")]
)
def test_short_heads_are_told_where_kerberos_tickets_come(
    windows_enabled: str, size: int | None, verdict: str, tmp_path: Path
):
    names = ("MaxFieldLength", "MaxRequestBytes")
    registry: dict[tuple[str, str], int | str] = {}
    if size is not None:
        registry = {(iis_checks._HTTP_PARAMETERS, name): size for name in names}
    settings = f"{SETTINGS}[identity.windows]\nenabled = {windows_enabled}\n"
    if windows_enabled == "true":
        settings += 'paths = ["/win"]\n'
    world = world_of(tmp_path, settings, machine=FixedMachine(registry=registry), is_windows=True)
    (found,) = iis_checks.request_heads(world)
    assert found.verdict == verdict
    assert f"MaxFieldLength is {size or 16384}" in found.seen
