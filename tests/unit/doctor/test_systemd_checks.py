"""Units of systemd as `doctor` reads them: which start this project, and what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.fakes.machine import FixedMachine
from tests.rigs.doctor_world import only, verdicts, world_of

from torchgate.cli import main
from torchgate.contract.diagnosis import Diagnosis
from torchgate.contract.services import ServiceSpec
from torchgate.doctor import systemd_checks
from torchgate.doctor.systemd_units import size_bytes, span_s, units_of
from torchgate.doctor.world import World

pytestmark = pytest.mark.linux("systemd is Linux's")
SOUND = {
    "Delegate": "yes", "TimeoutStopSec": "60", "NoNewPrivileges": "yes", "KillMode": "mixed",
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A project, examined as the account that its units name."""
    return world_of(tmp_path / "shop ü", machine=FixedMachine(name=f"{own_account()} (uid:{os.geteuid()})"))


def own_account() -> str:
    """The name of the account that runs this."""
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture(autouse=True)
def roots_account_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests may run as root, who is the only account that a fresh machine has for sure."""
    monkeypatch.setattr(systemd_checks, "_ROOT", {"", "nobody-else"})


def written(world: World, start: str = "", name: str = "tg.service", **settings: str | None) -> Path:
    """The folder of units, with one of these settings; None takes one of the sound ones out."""
    folder = world.folder.parent / "units"
    folder.mkdir(exist_ok=True)
    start = start or f'/opt/venv/bin/python -I -m torchgate pool "{world.folder}"'
    lines = [
        f"{key}={value}" for key, value in {"User": own_account(), **SOUND, **settings}.items() if value is not None
    ]
    text = "\n".join(["[Unit]", "Description=x", "", "[Service]", f"ExecStart={start}", *lines, "", "[Install]"])
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def found(world: World, **settings: str | None) -> list[Diagnosis]:
    """What is said of such a unit."""
    return list(systemd_checks.units(world, (written(world, **settings),)))


def test_a_sound_unit_is_sound(world: World):
    assert "starts `torchgate pool`, and nothing is amiss" in only(found(world), "ok").seen


@pytest.mark.parametrize(
    "start",
    [
        '/opt/torchgate serve "{0}"',
        '-/opt/my\\x20venv/torchgate gate --set gate.drain_s=5 --config "{0}/torchgate.toml"',
        '@/usr/bin/python3 python3 -m torchgate pool --set=gate.drain_s=5 "{0}"',
        '/opt/torchgate pool \\\n   "{0}"',
    ],
)
def test_units_that_start_this_project_are_found(world: World, start: str):
    folder = written(world, start=start.format(world.folder))
    (unit,) = units_of(world.configuration.file, [folder])
    assert unit.name == "tg.service"
    assert unit.place("User").endswith(f":{6 + start.count(chr(10))}")


@pytest.mark.parametrize(
    "start",
    ["/opt/torchgate serve /srv/other", '/opt/torchgate check "{0}"', "/usr/sbin/nginx", '"an end that is missing', ""],
)
def test_other_units_are_none_of_ours(world: World, start: str):
    folder = written(world, start=start.format(world.folder) or " ")
    assert list(units_of(world.configuration.file, [folder])) == []
    assert verdicts(systemd_checks.units(world, (folder,))) == ["skipped"]


def test_a_project_may_be_the_working_directory(world: World):
    folder = written(world, start="/opt/torchgate serve", WorkingDirectory=str(world.folder))
    assert [unit.command for unit in units_of(world.configuration.file, [folder])] == ["serve"]


def test_what_stands_beside_a_unit_counts_last_and_an_empty_line_takes_away(world: World):
    folder = written(world, LoadCredential="a:/nowhere")
    (folder / "tg.service.d").mkdir()
    (folder / "tg.service.d" / "10.conf").write_text("[Service]\nTimeoutStopSec=5\nLoadCredential=\n", "utf-8")
    (unit,) = units_of(world.configuration.file, [folder])
    assert (unit.last("TimeoutStopSec").value, unit.given["LoadCredential"]) == ("5", ())  # type: ignore[union-attr]
    assert unit.place("TimeoutStopSec") == f"{folder / 'tg.service.d' / '10.conf'}:2"
    assert "is killed 5 s after" in only(systemd_checks.units(world, (folder,)), "amber").seen


def test_a_unit_of_the_administrator_hides_the_systems(world: World):
    theirs = written(world, User="nobody-else")
    (world.folder.parent / "own").mkdir()
    ours = (theirs / "tg.service").rename(world.folder.parent / "own" / "tg.service").parent
    written(world)
    assert [unit.last("User").value for unit in units_of(world.configuration.file, [ours, theirs])] == ["nobody-else"]  # type: ignore[union-attr]


def test_what_install_writes_is_sound(world: World):
    from torchgate.posix.systemd_unit import unit_text

    command = ("/opt/venv/bin/python", "-I", "-X", "utf8", "-m", "torchgate", "pool", str(world.configuration.file))
    spec = ServiceSpec("tg", "t", "d", (*command, "--set", "state.folder=/var/lib/tg"), own_account(), 40.0)
    folder = written(world)
    (folder / "tg.service").write_text(
        unit_text(
            ServiceSpec(**{**{f: getattr(spec, f) for f in spec.__struct_fields__}, "folders": ("/var/lib/tg",)})
        ),
        encoding="utf-8",
    )
    assert verdicts(systemd_checks.units(world, (folder,))) == ["ok"]


@pytest.mark.parametrize(
    ("settings", "verdict", "said"),
    [
        ({"User": "nobody-else"}, "amber", "runs as root"),
        ({"User": None}, "amber", "runs as root"),
        ({"User": "no-such-account"}, "red", "there is no account no-such-account"),
        ({"User": "nobody"}, "amber", "runs as nobody, and what stands here is true for"),
        ({"TimeoutStopSec": "5s"}, "amber", "is killed 5 s after it was told to stop, and gate.drain_s is "),
        ({"KillMode": "process"}, "amber", "leaves workers behind"),
        ({"Delegate": "no"}, "amber", "no control groups"),
        ({"NoNewPrivileges": None}, "amber", "setuid"),
        ({"NoNewPrivileges": "no"}, "amber", "setuid"),
        ({"PrivateDevices": "yes"}, "amber", "PrivateDevices=yes hides GPUs"),
        ({"DevicePolicy": "closed"}, "amber", "DevicePolicy=closed hides GPUs"),
        ({"ProtectClock": "true"}, "amber", "ProtectClock=yes hides GPUs"),
        ({"MemoryDenyWriteExecute": "yes"}, "red", "MemoryDenyWriteExecute"),
        ({"RestrictAddressFamilies": "AF_INET AF_INET6"}, "red", "no local sockets"),
        ({"LoadCredential": "pepper:/nowhere/pepper"}, "red", "leads to /nowhere/pepper, which is not there"),
        ({"LoadCredential": "pepper:/etc/hostname"}, "amber", "no secret of [secrets] reads the credential pepper"),
        ({"ProtectSystem": "strict"}, "red", "read-only"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(world: World, settings: dict[str, str | None], verdict: str, said: str):
    found_ = [one for one in found(world, **settings) if said in one.seen]
    assert [one.verdict for one in found_] == [verdict]
    assert found_[0].remedy
    assert "tg.service" in found_[0].place


@pytest.mark.parametrize(
    "settings",
    [
        {"TimeoutStopSec": "infinity"},
        {"TimeoutStopSec": "1min"},
        {"TimeoutStopSec": None, "TimeoutSec": "2min 30s"},
        {"NoNewPrivileges": None, "SystemCallArchitectures": "native"},
        {"RestrictAddressFamilies": "AF_UNIX AF_INET"},
        {"RestrictAddressFamilies": "~AF_PACKET"},
        {"PrivateDevices": "no"},
        {"MemoryMax": "infinity"},
        {"MemoryMax": "16G"},
        {"OOMPolicy": "continue"},
    ],
)
def test_what_is_well_is_not_complained_of(world: World, settings: dict[str, str | None]):
    assert verdicts(found(world, **settings)) == ["ok"]


def test_a_strict_system_needs_a_state_folder_that_may_be_written(world: World):
    state = world.settings.state.folder
    for given in ({"ReadWritePaths": f'-/x "{state.parent}"'}, {"BindPaths": f'"{state}"'}):
        assert verdicts(found(world, ProtectSystem="strict", **given)) == ["ok"]
    start = f'/opt/torchgate pool "{world.folder}" --set state.folder=/var/lib/tg'
    other = written(world, start, ProtectSystem="strict")
    assert "red" in verdicts(systemd_checks.units(world, (other,)))
    written(world, start, ProtectSystem="strict", StateDirectory="tg")
    assert verdicts(systemd_checks.units(world, (other,))) == ["ok"]


def test_workers_need_memory_and_one_that_has_none_is_not_the_end_of_all(world: World):
    assert main(["init", str(world.folder.parent / "made")]) == 0
    made = world.folder.parent / "made"
    settings = (made / "torchgate.toml").read_text(encoding="utf-8")
    model = made / "models" / "doubler" / "model.toml"
    model.write_text(f"replicas = 3\n{model.read_text(encoding='utf-8')}", encoding="utf-8")
    again = world_of(made, settings, machine=world.machine)
    told = [one.seen for one in found(again, MemoryMax="2G", Delegate=None)]
    assert any("MemoryMax is 2G, and 3 workers with torch may take 3 GiB" in one for one in told), told
    assert any("is stopped as a whole when one worker runs out of memory" in one for one in told)


def test_a_secret_in_a_unit_is_everybodys_and_is_not_repeated(world: World):
    secret = "tgdev_" + "A" * 30
    told = only(found(world, Environment=f"TOKEN={secret}"), "red")
    assert "Environment= of tg.service holds what looks like a secret" in told.seen
    assert secret not in str(told)


def test_options_that_keep_it_from_starting_are_told(world: World):
    folder = written(world, f'/opt/torchgate pool --set gate.nonsense=1 "{world.folder}"')
    assert "does not start with its options" in only(systemd_checks.units(world, (folder,)), "red").seen


def test_elsewhere_there_are_no_units(tmp_path: Path):
    assert verdicts(systemd_checks.units(world_of(tmp_path, is_windows=True))) == ["skipped"]


def test_garbage_is_no_unit(world: World):
    folder = written(world)
    (folder / "tg.service").write_bytes(b"\xff\x00[Service\n=\n[Service]\n=x\nExecStart\n\\\n\\")
    (folder / "folder.service").mkdir()
    os.mkfifo(folder / "pipe.service")
    assert list(units_of(world.configuration.file, [folder, folder / "nowhere"])) == []


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90", 90),
        ("1min 30s", 90),
        ("5m", 300),
        ("500ms", 0.5),
        ("2M", 5259600),
        ("infinity", float("inf")),
        ("0", float("inf")),
    ],
)
def test_a_span_is_read_as_systemd_does(text: str, span: float):
    assert span_s(text) == pytest.approx(span)
    assert span_s("soon") is None
    assert span_s("5 fortnights") is None
    assert span_s("some 5") is None
    assert span_s("") is None


@pytest.mark.parametrize(
    ("text", "size"),
    [("8G", 8 << 30), ("512M", 512 << 20), ("100", 100), ("1.5K", 1536), ("infinity", None), ("80%", None)],
)
def test_a_size_is_read_as_systemd_does(text: str, size: int | None):
    assert size_bytes(text) == size
