"""A unit says what a pool needs, and systemd reads from it what we have said."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from torchgate.contract.services import ServiceProblem, ServiceSpec
from torchgate.posix.systemd_unit import other_folders, unit_text

SPEC = ServiceSpec(
    name="torchgate-pool",
    title="Torchgate pool (100 % models)",
    description="",
    command=("/bin/sh", "-m", "torchgate", "pool", "/srv/ä project/it's 100%", 'a "quote" $HOME \\'),
    account="torchgate",
    stop_timeout_s=16,
    environment={"HF_HOME": "/var/cache/my models"},
    folders=("/var/lib/torchgate-pool", "/run/torchgate/pool", "/srv/state of it"),
    shared_folders=("/srv/beside",),
)


def lines(spec: ServiceSpec = SPEC) -> list[str]:
    return unit_text(spec).splitlines()


def test_every_word_of_the_command_is_one_word_there():
    command = next(line for line in lines() if line.startswith("ExecStart="))
    assert command.endswith('torchgate pool "/srv/ä project/it\'s 100%%" "a \\"quote\\" $$HOME \\\\"')


def test_the_programs_own_path_is_taken_as_it_is():
    """systemd undoes `$$` in arguments alone: such a path would lead nowhere."""
    command = lines(msgspec.structs.replace(SPEC, command=("/srv/$1/python", "$2")))
    assert "ExecStart=/srv/$1/python $$2" in command


def test_a_folder_with_a_colon_is_none_of_the_folders_that_systemd_makes():
    """Newer versions read `a:b` there as the folder `a` and a link `b` to it."""
    text = lines(msgspec.structs.replace(SPEC, folders=("/var/lib/a:b",)))
    assert not any(line.startswith("StateDirectory=") for line in text)
    assert list(other_folders(msgspec.structs.replace(SPEC, folders=("/var/lib/a:b",)))) == ["/var/lib/a:b"]


def test_its_time_limits_are_ours_and_its_workers_have_groups_of_their_own():
    assert {"TimeoutStopSec=16", "TimeoutStartSec=120", "KillMode=mixed", "Delegate=yes", "Type=notify"} <= set(lines())
    assert {"Restart=on-failure", "RestartSec=5", "NotifyAccess=main", "User=torchgate"} <= set(lines())


def test_folders_are_made_by_systemd_where_it_does_that_and_may_be_written_elsewhere():
    assert {"StateDirectory=torchgate-pool", "RuntimeDirectory=torchgate/pool"} <= set(lines())
    assert 'ReadWritePaths="/srv/state of it" -/srv/beside' in lines()
    assert list(other_folders(SPEC)) == ["/srv/state of it"]


def test_a_temporary_folder_of_its_own_hides_nothing_that_it_needs():
    assert "PrivateTmp=yes" in lines()
    shared = {"PrivateTmp=no", "ReadWritePaths=/tmp /var/tmp"}
    assert shared <= set(lines(msgspec.structs.replace(SPEC, folders=("/tmp/state",))))
    assert "PrivateTmp=no" in lines(msgspec.structs.replace(SPEC, command=("/bin/sh", "--set", "state.folder=/tmp/x")))


def test_what_would_close_gpus_or_groups_to_workers_is_not_there():
    text = unit_text(SPEC)
    for directive in (
        "PrivateDevices",
        "DevicePolicy",
        "ProtectClock",
        "MemoryDenyWriteExecute",
        "ProtectControlGroups",
    ):
        assert f"{directive}=yes" not in text


@pytest.mark.parametrize("bad", ["/srv/two\nlines", "/srv/\x00"])
def test_what_no_unit_can_hold_is_refused(bad: str):
    with pytest.raises(ServiceProblem, match="control character"):
        unit_text(msgspec.structs.replace(SPEC, command=("/bin/sh", bad)))


@pytest.mark.linux("systemd is Linux's")
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd: there is no systemd-analyze")
    unit = tmp_path / "torchgate-pool.service"
    unit.write_text(unit_text(msgspec.structs.replace(SPEC, account="root")), encoding="utf-8")
    verified = subprocess.run([program, "verify", str(unit)], capture_output=True, timeout=240, check=False)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, b"", b"")
    unit.write_text(unit_text(SPEC).replace("KillMode=mixed", "KillMode=polite"), encoding="utf-8")
    verified = subprocess.run([program, "verify", str(unit)], capture_output=True, timeout=240, check=False)
    assert b"kill mode" in verified.stderr, "it does look"
