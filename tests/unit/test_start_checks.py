"""Who may start with which front door: servers that listen, gates that are called, and a pool behind any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchgate.config import Configuration, read_configuration
from torchgate.start_checks import caller_mistakes, listener_mistakes, start_mistakes, wsgi_mistakes


def configuration(folder: Path, front_door: str) -> Configuration:
    """Of a project with this front door."""
    (folder / "torchgate.toml").write_text(f'[gate]\nfront_door = "{front_door}"\n', encoding="utf-8")
    return read_configuration(folder)


@pytest.mark.parametrize("front_door", ["ancm", "httpplatform", "httpplatform-1.2", "fastcgi", "direct"])
def test_a_pool_starts_whatever_its_gates_front_door_is(tmp_path: Path, front_door: str):
    """It has the same torchgate.toml, and IIS does not start it: no token and no port are in its environment."""
    assert list(start_mistakes(configuration(tmp_path, front_door), {}, has_door=False)) == []


@pytest.mark.parametrize("front_door", ["ancm", "httpplatform"])
def test_a_gate_without_what_its_module_gives_it_does_not(tmp_path: Path, front_door: str):
    assert list(start_mistakes(configuration(tmp_path, front_door), {})) != []


@pytest.mark.parametrize(("front_door", "listens"), [("fastcgi", False), ("direct", True), ("arr", True)])
def test_a_gate_either_listens_or_is_called(tmp_path: Path, front_door: str, listens: bool):
    read = configuration(tmp_path, front_door)
    assert (list(listener_mistakes(read)) == [], list(caller_mistakes(read)) == []) == (listens, not listens)
    (mistake,) = list(caller_mistakes(read)) + list(listener_mistakes(read))
    assert mistake.line == 2, "a person finds where it was set"


@pytest.mark.parametrize(
    ("front_door", "may"),
    [("direct", True), ("fastcgi", True), ("arr", True), ("ancm", False), ("httpplatform", False), ("proxy", False)],
)
def test_around_a_wsgi_application_no_header_can_prove_anything(tmp_path: Path, front_door: str, may: bool):
    """WSGI makes one of `X-Remote-User` and `X_Remote_User`: whose it was, nobody can tell."""
    assert (list(wsgi_mistakes(configuration(tmp_path, front_door))) == []) == may


def test_a_file_that_is_wrong_says_so_once(tmp_path: Path):
    (tmp_path / "torchgate.toml").write_text("[gate]\nfront_dor = 1\n", encoding="utf-8")
    read = read_configuration(tmp_path)
    assert len(list(start_mistakes(read, {}))) == 1
    assert list(listener_mistakes(read)) == list(caller_mistakes(read)) == list(wsgi_mistakes(read)) == []
