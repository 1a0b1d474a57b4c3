"""The stand-in itself: it refuses what IIS refuses, and does to a request's head what the modules' source does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.rigs.iis_module.app_offline import is_watched
from tests.rigs.iis_module.configuration import Application, ConfigurationRefused, read_application
from tests.rigs.iis_module.header_rules import Caller, Headers, cooked_target, request_headers
from tests.rigs.iis_module.process_environment import expanded, known_to_arguments, process_environment
from tests.rigs.iis_project import render, write_project

CALLER = Caller("203.0.113.9", 50123)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What is rendered for each module."""
    place = tmp_path_factory.mktemp("rendered")
    doors = ("ancm", "httpplatform", "httpplatform-1.2")
    return {door: render(write_project(place / door, {}, door).folder, application="/models") for door in doors}


def application(folders: dict[str, Path], door: str) -> Application:
    return read_application(folders[door], door)


def received(folders: dict[str, Path], door: str, sent: Headers, handle: str | None = None) -> Headers:
    """What the process gets of these."""
    return request_headers(application(folders, door), sent, CALLER, "the-token", handle)


@pytest.mark.parametrize("door", ["ancm", "httpplatform"])
def test_a_clients_own_are_stripped_and_the_last_hop_is_appended(folders: dict[str, Path], door: str) -> None:
    sent = [("Host", "h"), ("ms-AspNetCore-Whatever", "1"), ("X-Forwarded-For", "1.2.3.4"), ("Connection", "close")]
    assert received(folders, door, sent) == [
        ("Host", "h"),
        ("MS-ASPNETCORE-TOKEN", "the-token"),
        ("X-Forwarded-For", "1.2.3.4, 203.0.113.9:50123"),
        ("X-Forwarded-Proto", "http"),
    ]


def test_only_http_platform_handler_lets_a_token_header_through_that_a_rule_must_empty(
    folders: dict[str, Path],
) -> None:
    sent = [("X-IIS-WindowsAuthToken", "4")]
    with_rule = application(folders, "httpplatform")
    without = replace(with_rule, blanked=frozenset())
    assert sent[0] in request_headers(without, sent, CALLER, "t", None), "the hole"
    assert sent[0] not in request_headers(with_rule, sent, CALLER, "t", None)
    assert ("X-IIS-WINDOWSAUTHTOKEN", "4b8") in request_headers(with_rule, sent, CALLER, "t", "4b8")


def test_of_version_1_2_nothing_is_known_but_the_port(folders: dict[str, Path]) -> None:
    sent = [("MS-ASPNETCORE-TOKEN", "x"), ("X-Forwarded-For", "1.2.3.4")]
    assert received(folders, "httpplatform-1.2", sent) == sent
    found = process_environment(application(folders, "httpplatform-1.2"), 12345, "the-token")
    ours = {name: value for name, value in found.items() if name.startswith("HTTP_PLATFORM")}
    assert ours == {"HTTP_PLATFORM_PORT": "12345", "HTTP_PLATFORM_APPL_PATH": "/models"}


@pytest.mark.parametrize(
    ("target", "cooked"),
    [
        ("/a/%2e%2e/b?c=%2e", "/b?c=%2e"),
        ("/a%2fb", "/a/b"),
        ("/a%3fb?c", "/a%3Fb?c"),
        ("/a%2541", "/a%41"),
        ("/%C3%BC/", "/%C3%BC/"),
        ("/", "/"),
    ],
)
def test_a_path_is_decoded_once_and_made_plain(target: str, cooked: str) -> None:
    assert cooked_target(target) == cooked


@pytest.mark.parametrize(
    ("old", "new", "door"),
    [
        ("<httpPlatform ", '<httpPlatform startupRetryCount="3" ', "httpplatform"),
        ("AspNetCoreModuleV2", "AspNetCoreModule", "ancm"),
        ('hostingModel="outofprocess"', 'hostingModel="inprocess"', "ancm"),
        ('requestTimeout="00:', 'requestTimeout="00:60:', "ancm"),
        ("</configuration>", "", "ancm"),
    ],
)
def test_what_iis_refuses_is_refused(tmp_path: Path, folders: dict[str, Path], old: str, new: str, door: str) -> None:
    for file in folders[door].iterdir():
        text = file.read_text(encoding="utf-8")
        assert old in text or file.name != "web.config"
        (tmp_path / file.name).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationRefused):
        read_application(tmp_path, door)


def test_a_rule_sets_no_server_variable_that_the_server_does_not_allow(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    for file in folders["httpplatform"].iterdir():
        text = file.read_text(encoding="utf-8")
        (tmp_path / file.name).write_text(text.replace("allowedServerVariables", "others"), encoding="utf-8")
    with pytest.raises(ConfigurationRefused, match=r"500\.50"):
        read_application(tmp_path, "httpplatform")


def test_variables_are_expanded_in_any_case() -> None:
    assert expanded("%Root%\\python %none% 5%", {"ROOT": "C:"}) == "C:\\python %none% 5%"


@pytest.mark.parametrize(("door", "seen"), [("ancm", "%ASPNETCORE_PORT%"), ("httpplatform", "5000")])
def test_one_module_puts_its_port_into_arguments_and_the_other_does_not(
    folders: dict[str, Path], door: str, seen: str
) -> None:
    application = read_application(folders[door], door)
    name = f"%{application.variant.prefix}_PORT%"
    assert expanded(name, known_to_arguments(application, 5000)) == seen


@pytest.mark.parametrize("name", ["app_offline.htm", "APP_OFFLINE.HTM", "app_offline", "App", "a"])
def test_every_name_that_app_offline_begins_with_is_watched(name: str) -> None:
    """The source compares as many characters as the changed file's name has."""
    assert is_watched(name)


@pytest.mark.parametrize("name", ["app_offline.html", "web.config", "b"])
def test_others_are_not(name: str) -> None:
    assert not is_watched(name)


def test_what_the_module_tells_its_process_is_not_the_configurations_but_port_and_token_are(
    folders: dict[str, Path],
) -> None:
    variables = {
        "HTTP_PLATFORM_PORT": "1234",
        "HTTP_PLATFORM_TOKEN": "own",
        "HTTP_PLATFORM_APPL_PATH": "/other",
        "HTTP_PLATFORM_IIS_HTTPAUTH": "windows;",
        "HERE": "at %HTTP_PLATFORM_PORT%, not %HTTP_PLATFORM_TOKEN%",
    }
    configured = replace(application(folders, "httpplatform"), variables=variables)
    found = process_environment(configured, 5000, "the-token")
    assert {
        name: value for name, value in found.items() if name in {*variables, "HTTP_PLATFORM_IIS_PHYSICAL_PATH"}
    } == {
        "HTTP_PLATFORM_PORT": "1234",
        "HTTP_PLATFORM_TOKEN": "own",
        "HTTP_PLATFORM_APPL_PATH": "/models",
        "HTTP_PLATFORM_IIS_HTTPAUTH": "anonymous;",
        "HTTP_PLATFORM_IIS_PHYSICAL_PATH": "/LM/W3SVC/1/ROOT/models",
        "HERE": "at 5000, not %HTTP_PLATFORM_TOKEN%",
    }


@pytest.mark.parametrize("count", ["0", "101"])
def test_no_more_than_a_hundred_processes_share_the_work(tmp_path: Path, folders: dict[str, Path], count: str) -> None:
    for file in folders["ancm"].iterdir():
        text = file.read_text(encoding="utf-8")
        text = text.replace("<aspNetCore ", f'<aspNetCore processesPerApplication="{count}" ')
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationRefused, match="1 to 100"):
        read_application(tmp_path, "ancm")
