"""Made-up identities exist where only this machine can reach them, and nowhere else (DESIGN 4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from torchgate.config import TorchgateSettings, read_configuration
from torchgate.development import development_checks, new_tokens

ENABLED = (
    '[development]\nenabled = true\n[[development.identities]]\nname = "a"\n[[development.identities]]\nname = "b"\n'
)


def _settings(folder: Path, bind: str = "127.0.0.1:0", text: str = ENABLED) -> TorchgateSettings:
    file = folder / "torchgate.toml"
    file.write_text(f'[gate]\nbind = "{bind}"\n{text}', encoding="utf-8")
    settings = read_configuration(file).settings
    assert settings is not None
    return settings


@pytest.mark.parametrize("bind", ["127.0.0.1:8080", "127.9.9.9:1", "[::1]:8080"])
def test_loopback_is_allowed(tmp_path: Path, bind: str):
    assert list(development_checks(_settings(tmp_path, bind), {"PATH": "x"})) == []


@pytest.mark.parametrize("bind", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost:1", "[::ffff:10.0.0.1]:1", "x"])
def test_everything_else_is_refused(tmp_path: Path, bind: str):
    assert [finding.severity for finding in development_checks(_settings(tmp_path, bind), {})] == ["error"]


@pytest.mark.parametrize(
    "environment",
    [{"ASPNETCORE_PORT": ""}, {"aspnetcore_token": "x"}, {"HTTP_PLATFORM_PORT": "1"}, {"_FCGI_X_PIPE_": "1"}],
)
def test_whatever_iis_leaves_in_the_environment_is_refused(tmp_path: Path, environment: Mapping[str, str]):
    assert [finding.severity for finding in development_checks(_settings(tmp_path), environment)] == ["error"]


def test_what_is_not_enabled_has_no_tokens_and_no_objections(tmp_path: Path):
    settings = _settings(tmp_path, "0.0.0.0:1", ENABLED.replace("true", "false"))
    assert list(development_checks(settings, {"ASPNETCORE_PORT": "1"})) == []
    assert new_tokens(settings) == {}


def test_every_start_has_new_tokens(tmp_path: Path):
    settings = _settings(tmp_path)
    first, second = new_tokens(settings), new_tokens(settings)
    assert set(first) == set(second) == {"a", "b"}
    assert len({*first.values(), *second.values()}) == 4
