"""Ports and pools as they are: real sockets, real pipes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from tests.fakes.machine import FixedMachine
from tests.rigs.doctor_world import only, verdicts, world_of

from torchgate.contract.machine import PortHolder
from torchgate.doctor import network_checks
from torchgate.project import RunningServer, announce_server


@pytest.fixture
def taken():
    """A port on which this process listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        yield listening.getsockname()[1]


def bound_to(port: int) -> str:
    return f'[gate]\nbind = "127.0.0.1:{port}"\n'


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def test_a_free_port_is_ok(tmp_path: Path):
    assert verdicts(network_checks.port(world_of(tmp_path, bound_to(free_port())))) == ["ok"]


def test_a_taken_port_is_red_and_says_by_whom(taken: int, tmp_path: Path):
    machine = FixedMachine(holders={taken: (PortHolder(4711, "nginx"),)})
    found = only(network_checks.port(world_of(tmp_path, bound_to(taken), machine=machine)), "red")
    assert "it is held by process 4711 (nginx)" in found.seen
    unknown = only(network_checks.port(world_of(tmp_path, bound_to(taken))), "red")
    assert "held" not in unknown.seen


def test_our_own_running_server_may_hold_its_port(taken: int, tmp_path: Path):
    machine = FixedMachine(holders={taken: (PortHolder(os.getpid(), "python"),)})
    world = world_of(tmp_path, bound_to(taken), machine=machine)
    world.settings.state.folder.mkdir()
    announce_server(world.settings.state.folder, RunningServer(os.getpid(), "http://127.0.0.1", "1"))
    (found,) = network_checks.port(world)
    assert (found.verdict, "our own server" in found.seen) == ("ok", True)


def test_an_address_of_another_machine_is_red(tmp_path: Path):
    world = world_of(tmp_path, '[gate]\nbind = "192.0.2.1:8080"\n')
    assert "can't be listened on" in only(network_checks.port(world), "red").seen


def test_a_reserved_port_is_told(tmp_path: Path):
    reserved = FixedMachine(reserved="http://+:8080/ is reserved for http.sys")
    found = list(network_checks.port(world_of(tmp_path, bound_to(free_port()), machine=reserved)))
    assert verdicts(found) == ["ok", "amber"]
    unknown = FixedMachine(reserved=OSError(5, "Access is denied"))
    found = list(network_checks.port(world_of(tmp_path, bound_to(free_port()), machine=unknown)))
    assert verdicts(found) == ["ok", "skipped"]


@pytest.mark.parametrize("door", ["ancm", "httpplatform", "httpplatform-1.2", "fastcgi"])
def test_behind_iis_the_port_is_not_ours_to_choose(door: str, tmp_path: Path):
    assert verdicts(network_checks.port(world_of(tmp_path, f'[gate]\nfront_door = "{door}"\n'))) == ["skipped"]


def test_any_free_port_is_no_question(tmp_path: Path):
    assert verdicts(network_checks.port(world_of(tmp_path, bound_to(0)))) == ["skipped"]


def test_a_unix_socket_needs_its_folder(tmp_path: Path):
    settings = '[gate]\nbind = "unix:{}/gate.sock"\n'
    good = world_of(tmp_path / "project", settings.format(tmp_path.as_posix()))
    assert verdicts(network_checks.port(good)) == ["ok"]
    (tmp_path / "file").write_bytes(b"")
    bad = world_of(tmp_path / "project", settings.format((tmp_path / "file").as_posix()))
    assert verdicts(network_checks.port(bad)) == ["red"]


def test_without_issuers_nobody_is_asked(tmp_path: Path):
    assert verdicts(network_checks.issuers(world_of(tmp_path))) == ["skipped"]


def test_every_issuer_is_asked(tmp_path: Path):
    """Both keys' files are missing, and both are told."""
    one = '[[identity.oidc]]\nname = "{0}"\nissuer = "https://{0}.example"\naudience = ["a"]\njwks_file = "{0}.json"\n'
    found = list(network_checks.issuers(world_of(tmp_path, one.format("a") + one.format("b"))))
    assert verdicts(found) == ["red", "red"]
    assert "a has given no keys" in found[0].seen


def test_without_a_pool_in_the_settings_none_is_looked_for(tmp_path: Path):
    assert verdicts(network_checks.pool(world_of(tmp_path))) == ["skipped"]


def test_a_pool_that_was_not_started_is_red(tmp_path: Path):
    folder = tmp_path / "meet"
    folder.mkdir(mode=0o700)
    (found,) = network_checks.pool(world_of(tmp_path, f'[pool]\nfolder = "{folder.as_posix()}"\n'))
    assert (found.verdict, found.seen) == ("red", "no pool listens here.")
    assert "torchgate pool" in found.remedy
