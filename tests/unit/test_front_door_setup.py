"""The front door of a project: what of its file, environment and web.config keeps it from starting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from torchgate.config import TorchgateSettings, read_configuration
from torchgate.front_door_setup import front_door_checks, front_door_setting_checks

ENVIRONMENT = {"HTTP_PLATFORM_PORT": "15999", "HTTP_PLATFORM_TOKEN": "t", "HTTP_PLATFORM_IIS_HTTPAUTH": "windows;"}
RULE = (
    '<configuration><system.webServer><rewrite><rules><rule name="x"><match url=".*" /><serverVariables>'
    '<set name="HTTP_X_IIS_WINDOWSAUTHTOKEN" value="" /></serverVariables><action type="None" /></rule></rules>'
    "</rewrite></system.webServer></configuration>"
)
WINDOWS = '[gate]\nfront_door = "httpplatform"\n[identity.windows]\nenabled = true\npaths = ["/v2"]\n'


def settings(folder: Path, text: str) -> TorchgateSettings:
    """As a file has them."""
    file = folder / "torchgate.toml"
    file.write_text(text, encoding="utf-8")
    found = read_configuration(file)
    assert found.settings is not None, found.findings
    return found.settings


def mistakes(folder: Path, text: str, environment: Mapping[str, str]) -> list[str]:
    """Settings at fault at the start."""
    found = front_door_checks(settings(folder, text), environment)
    return [finding.setting for finding in found if finding.severity == "error"]


def test_windows_behind_http_platform_handler_starts_where_its_own_web_config_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module starts it in that folder; what it calls the physical path is none."""
    site = tmp_path / "a site"
    site.mkdir()
    (site / "web.config").write_text(RULE, encoding="utf-8-sig")
    monkeypatch.chdir(site)
    environment = {**ENVIRONMENT, "HTTP_PLATFORM_IIS_PHYSICAL_PATH": "/LM/W3SVC/1/ROOT"}
    assert mistakes(tmp_path, WINDOWS, environment) == []


@pytest.mark.parametrize("content", [None, b"<configuration/>", b"\xff\xfe\x00"])
def test_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    """A folder that the environment names is not asked: whoever may make one there would decide."""
    named = tmp_path / "named"
    named.mkdir()
    (named / "web.config").write_text(RULE, encoding="utf-8-sig")
    if content is not None:
        (tmp_path / "web.config").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    environment = {**ENVIRONMENT, "HTTP_PLATFORM_IIS_PHYSICAL_PATH": str(named)}
    assert mistakes(tmp_path, WINDOWS, environment) == ["identity.windows"]


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ('[gate]\nfront_door = "direct"\n[identity.windows]\nenabled = true\npaths = ["/v2"]\n', "identity.windows"),
        ('[gate]\nfront_door = "ancm"\n[identity.windows]\nenabled = true\n', "identity.windows.paths"),
        (
            '[gate]\nfront_door = "proxy"\n[gate.proxy]\nsecret = "nginks"\n[secrets]\na = "file:x"\n',
            "gate.proxy.secret",
        ),
    ],
)
def test_what_needs_no_environment_is_found_by_check(tmp_path: Path, text: str, setting: str) -> None:
    found = [one for one in front_door_setting_checks(settings(tmp_path, text)) if one.severity == "error"]
    assert [finding.setting for finding in found] == [setting]
