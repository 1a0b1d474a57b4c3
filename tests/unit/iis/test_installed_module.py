"""Which module is installed, against which one gate.front_door needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchgate.iis.facts import Door
from torchgate.iis.installed_module import expanded, module_in_host, module_schema
from torchgate.iis.xml_document import parse_xml

HOST = """<configuration><system.webServer><globalModules>
  <add name="AspNetCoreModuleV2" image="%ProgramFiles%/IIS/aspnetcorev2.dll" />
  <add name="httpPlatformHandler" image="%ProgramFiles%/IIS/{dll}" />
</globalModules></system.webServer></configuration>"""
SCHEMA = """<configSchema><sectionSchema name="system.webServer/httpPlatform">
  <attribute name="processPath" type="string" />{more}
</sectionSchema></configSchema>"""
OLD = '<attribute name="startupRetryCount" type="uint" />'


def installed(door: Door, dll: str = "httpplatformhandlerv2.dll", version: str = "2.1.0.0"):
    host = parse_xml(HOST.format(dll=dll))
    return list(module_in_host(door, host, {"PROGRAMFILES": "D:/Programs"}, lambda _: version))


@pytest.mark.parametrize(
    ("door", "dll", "verdict", "words"),
    [
        ("ancm", "", "ok", "AspNetCoreModuleV2 2.1.0.0"),
        ("httpplatform", "httpplatformhandlerv2.dll", "ok", "httpPlatformHandler 2.1.0.0"),
        ("httpplatform", "HttpPlatformHandler.dll", "red", "proves nothing to us"),
        ("httpplatform-1.2", "HttpPlatformHandler.dll", "ok", "2.1.0.0"),
        ("httpplatform-1.2", "httpplatformhandlerv2.dll", "amber", "gate.front_door says 1.2"),
    ],
)
def test_the_module_must_be_the_doors(door: Door, dll: str, verdict: str, words: str):
    (found,) = installed(door, dll)
    assert (found.verdict, words in found.seen) == (verdict, True)


def test_a_module_that_is_not_installed_is_red_with_what_to_install():
    (found,) = module_in_host("ancm", parse_xml("<configuration/>"), {}, lambda _: "")
    assert (found.verdict, found.remedy) == ("red", "Install the .NET Hosting Bundle.")


def test_a_dll_that_cannot_be_read_is_red():
    def fail(file: Path) -> str:
        raise FileNotFoundError(2, "not there", str(file))

    (found,) = module_in_host("ancm", parse_xml(HOST), {}, fail)
    assert "not there" in found.seen


@pytest.mark.parametrize(
    ("door", "more", "verdict"),
    [
        ("httpplatform", "", "ok"),
        ("httpplatform", OLD, "red"),
        ("httpplatform-1.2", OLD, "ok"),
        ("httpplatform-1.2", "", "amber"),
    ],
)
def test_the_schema_must_be_the_modules(door: Door, more: str, verdict: str, tmp_path: Path):
    """An upgrade of HttpPlatformHandler in place leaves the old schema, and 500.19 follows."""
    (tmp_path / "httpplatform_schema.xml").write_text(SCHEMA.format(more=more), encoding="utf-8")
    assert [one.verdict for one in module_schema(door, tmp_path)] == [verdict]


def test_without_a_schema_iis_answers_nothing(tmp_path: Path):
    (found,) = module_schema("ancm", tmp_path)
    assert (found.verdict, "500.19" in found.seen) == ("red", True)


def test_a_schema_that_is_no_xml_is_skipped_with_the_reason(tmp_path: Path):
    (tmp_path / "aspnetcore_schema_v2.xml").write_text("<", encoding="utf-8")
    (found,) = module_schema("ancm", tmp_path)
    assert (found.verdict, "it is no XML" in found.seen) == ("skipped", True)


def test_variables_of_paths_are_found_in_any_case():
    environment = {"ProgramFiles": "C:\\Program Files", "windir": "C:\\Windows"}
    assert expanded("%PROGRAMFILES%\\IIS;%WINDIR%;%away%;100%", environment) == (
        "C:\\Program Files\\IIS;C:\\Windows;%away%;100%"
    )
