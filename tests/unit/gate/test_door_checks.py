"""A front door that does not fit its settings or its environment keeps the server from starting."""

from __future__ import annotations

from typing import Any

import pytest

from torchgate.contract.findings import Finding
from torchgate.gate.declarations import FRONT_DOORS
from torchgate.gate.door_checks import (
    WindowsUse,
    caller_checks,
    door_setting_checks,
    door_start_checks,
    listener_checks,
    windows_setting_checks,
)
from torchgate.gate.door_parts import DoorNeighbours, base_path, effective_bind, front_door_parts
from torchgate.gate.marked_paths import MarkedPaths
from torchgate.gate.settings import GateSettings

ANCM = {"ASPNETCORE_PORT": "15999", "ASPNETCORE_TOKEN": "t", "ASPNETCORE_IIS_HTTPAUTH": "windows;"}
V2 = {"HTTP_PLATFORM_PORT": "15999", "HTTP_PLATFORM_TOKEN": "t", "HTTP_PLATFORM_IIS_HTTPAUTH": "windows;"}
V1 = {"HTTP_PLATFORM_PORT": "15999"}
NO_WINDOWS = WindowsUse()
EVERYTHING = WindowsUse(True, MarkedPaths(["/"]), True)
BELOW_V2 = WindowsUse(True, MarkedPaths(["/v2"]), True)


def gate(front_door: str = "direct", **more: Any) -> GateSettings:
    """`[gate]` as a file would have it."""
    return GateSettings.model_validate({"front_door": front_door, **more}, strict=False)


def errors(findings: Any) -> list[Finding]:
    """Those that keep it from starting."""
    return [finding for finding in findings if finding.severity == "error"]


@pytest.mark.parametrize(
    ("front_door", "environment"),
    [
        ("direct", {"PATH": "x", "ASPNETCORE_ENVIRONMENT": "Production"}),
        ("ancm", ANCM),
        ("ancm", {name.lower(): value for name, value in ANCM.items()}),
        ("httpplatform", V2),
        ("httpplatform-1.2", V1),
        ("arr", {}),
        ("proxy", {}),
    ],
)
def test_a_door_in_its_own_environment_starts(front_door: str, environment: dict[str, str]) -> None:
    assert errors(door_start_checks(gate(front_door), environment, NO_WINDOWS)) == []


@pytest.mark.identity_case(
    "front_door", "configured as one, started by another module, or without its token", "no start"
)
@pytest.mark.parametrize(
    ("front_door", "environment", "remedy"),
    [
        ("direct", ANCM, "ancm"),
        ("direct", {"ASPNETCORE_TOKEN": ""}, "ancm"),
        ("direct", V2, "httpplatform"),
        ("direct", V1, "httpplatform-1.2"),
        ("direct", {"_FCGI_X_PIPE_": "x"}, "fastcgi"),
        ("proxy", ANCM, "ancm"),
        ("arr", V2, "httpplatform"),
        ("ancm", V2, "httpplatform"),
        ("httpplatform", ANCM, "ancm"),
        ("httpplatform", V1, "httpplatform-1.2"),
        ("httpplatform-1.2", V2, "httpplatform"),
        ("ancm", {}, "direct"),
        ("ancm", {"ASPNETCORE_PORT": "1"}, "direct"),
        ("ancm", {**ANCM, "ASPNETCORE_TOKEN": ""}, "direct"),
        ("httpplatform-1.2", {}, "direct"),
    ],
)
def test_a_door_in_anothers_environment_does_not(front_door: str, environment: dict[str, str], remedy: str) -> None:
    """Whoever forgot to name IIS would otherwise answer everybody on this machine, unproven."""
    found = errors(door_start_checks(gate(front_door), environment, NO_WINDOWS))
    assert found
    assert any(remedy in finding.remedy for finding in found)


def test_whoever_listens_and_whoever_is_called_have_doors_of_their_own() -> None:
    """A policy that is read again must not find the door of wfastcgi wrong: it neither listens nor is called then."""
    assert errors(door_start_checks(gate("fastcgi"), {"_FCGI_X_PIPE_": "x"}, NO_WINDOWS)) == []
    assert [finding.setting for finding in errors(listener_checks(gate("fastcgi")))] == ["gate.front_door"]
    assert errors(caller_checks(gate("fastcgi"))) == []
    for other in ("direct", "ancm", "proxy"):
        assert errors(listener_checks(gate(other))) == []
        assert [finding.setting for finding in errors(caller_checks(gate(other)))] == ["gate.front_door"]


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1", "1" * 30, "\u0661"])
def test_a_port_of_iis_that_is_none_is_found(port: str) -> None:
    environment = {**ANCM, "ASPNETCORE_PORT": port}
    assert errors(door_start_checks(gate("ancm"), environment, NO_WINDOWS))
    with pytest.raises(ValueError, match="no port"):
        effective_bind(gate("ancm"), environment)


def test_iis_says_where_to_listen() -> None:
    assert effective_bind(gate("ancm", bind="0.0.0.0:80"), ANCM) == "127.0.0.1:15999"
    assert effective_bind(gate(bind="127.0.0.1:1"), ANCM) == "127.0.0.1:1"


@pytest.mark.parametrize(("said", "base"), [("/", b""), ("", b""), ("/Models/", b"/models"), ("/a/b", b"/a/b")])
def test_iis_says_where_it_mounted_us(said: str, base: bytes) -> None:
    assert base_path(FRONT_DOORS["ancm"], {"ASPNETCORE_APPL_PATH": said}) == base


@pytest.mark.parametrize(
    ("front_door", "environment", "windows"),
    [
        ("ancm", ANCM, EVERYTHING),
        ("ancm", {**ANCM, "ASPNETCORE_IIS_HTTPAUTH": "windows;anonymous;"}, BELOW_V2),
        ("httpplatform", V2, EVERYTHING),
        ("fastcgi", {}, WindowsUse(True)),
    ],
)
def test_windows_where_it_can_be_believed(front_door: str, environment: dict[str, str], windows: WindowsUse) -> None:
    assert errors(windows_setting_checks(gate(front_door), windows.paths)) == []
    found = errors(door_start_checks(gate(front_door), environment, windows))
    assert [finding for finding in found if "windows" in finding.setting] == []


@pytest.mark.identity_case("windows", "anonymous or Basic beside Windows, no marked path, no blocking rule", "no start")
@pytest.mark.parametrize(
    ("front_door", "environment", "windows"),
    [
        ("ancm", {**ANCM, "ASPNETCORE_IIS_HTTPAUTH": "windows;anonymous;"}, EVERYTHING),
        ("ancm", {**ANCM, "ASPNETCORE_IIS_HTTPAUTH": "windows;basic;"}, EVERYTHING),
        ("ancm", {**ANCM, "ASPNETCORE_IIS_HTTPAUTH": "anonymous;"}, EVERYTHING),
        ("ancm", {**ANCM, "ASPNETCORE_IIS_HTTPAUTH": "none"}, EVERYTHING),
        ("ancm", ANCM, WindowsUse(True)),
        ("httpplatform", V2, WindowsUse(True, MarkedPaths(["/"]), False)),
        ("httpplatform", V2, WindowsUse(True, MarkedPaths(["/"]), None)),
        ("httpplatform-1.2", V1, EVERYTHING),
        ("direct", {}, EVERYTHING),
        ("proxy", {}, EVERYTHING),
        ("arr", {}, EVERYTHING),
    ],
)
def test_windows_where_it_can_not(front_door: str, environment: dict[str, str], windows: WindowsUse) -> None:
    """Each of these mixes would let somebody name a token who is not Windows-authenticated."""
    settings = gate(front_door)
    found = errors(windows_setting_checks(settings, windows.paths))
    found += errors(door_start_checks(settings, environment, windows))
    assert [finding for finding in found if "windows" in finding.setting]
    assert all(finding.remedy for finding in found)


@pytest.mark.parametrize(
    "proxy",
    [
        {"peers": ["127.0.0.1"], "secret": "front"},
        {"peers": ["10.0.0.0/30"], "certificates": ["ab" * 32]},
    ],
)
def test_a_proxy_that_proves_itself_is_fine(proxy: dict[str, Any]) -> None:
    assert errors(door_setting_checks(gate("proxy", proxy=proxy))) == []


@pytest.mark.linux("unix sockets")
def test_a_proxy_on_a_unix_socket_is_fine() -> None:
    assert errors(door_setting_checks(gate("proxy", bind="unix:/run/torchgate/gate.sock"))) == []


@pytest.mark.identity_case("proxy", "configured without a proof, or with everybody as its peers", "no start")
@pytest.mark.parametrize(
    "settings",
    [
        {"front_door": "proxy"},
        {"front_door": "proxy", "proxy": {"peers": ["127.0.0.1"]}},
        {"front_door": "proxy", "proxy": {"peers": ["127.0.0.1"], "user_header": "X-User"}},
        {"front_door": "proxy", "proxy": {"secret": "front"}},
        {"front_door": "direct", "proxy": {"user_header": "X-User"}},
        {"front_door": "direct", "bind": "unix:/run/x.sock"},
        {"front_door": "proxy", "bind": "unix:x.sock"},
        {"front_door": "proxy", "bind": "unix:/" + "x" * 120},
        {"hosts": ["0.0.0.0"]},
    ],
)
def test_a_proxy_that_proves_nothing_is_found(settings: dict[str, Any]) -> None:
    assert errors(door_setting_checks(gate(**settings)))


@pytest.mark.parametrize(
    "proxy",
    [
        {"peers": ["0.0.0.0/0"]},
        {"peers": ["::/0"]},
        {"peers": ["nginx.corp"]},
        {"user_header": "Authorization"},
        {"user_header": "X User"},
        {"user_header": "X-User", "groups_header": "x_user"},
        {"groups_header": "X-Groups"},
        {"verified_header": "X-Verify"},
        {"certificates": ["zz"]},
        {"secret": "file:x"},
    ],
)
def test_settings_that_make_no_sense_are_refused(proxy: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="proxy"):
        gate("proxy", proxy=proxy)


def test_a_door_without_its_proof_is_not_even_made() -> None:
    """Whatever the checks say, there is no front door that proves nothing and believes."""
    for settings, environment in ((gate("ancm"), {}), (gate("proxy"), {}), (gate("httpplatform"), V1)):
        with pytest.raises(ValueError, match=r"proof|proven|proves"):
            front_door_parts(settings, environment, DoorNeighbours())
