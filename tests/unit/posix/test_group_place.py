"""Whose a control group is: files as the kernel shows them, laid out in an ordinary folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

if sys.platform != "win32":
    from torchgate.posix.group_place import NoControlGroups, find_place

pytestmark = pytest.mark.linux("control groups are Linux's")


class Machine:
    """A mount of groups, and one process that looks at it.

    Args:
        folder: where to lay it out; has a space, as mounts may.
    """

    def __init__(self, folder: Path) -> None:
        self.mount = folder / "fs cgroup"
        self.process = folder / "self"
        self.process.mkdir(parents=True)
        self.systemd = folder / "systemd"

    def group(self, path: str, *, is_root: bool = False, controllers: str = "cpu memory pids") -> Path:
        group = self.mount / path.lstrip("/")
        group.mkdir(parents=True)
        (group / "cgroup.controllers").write_text(f"{controllers}\n")
        for name in ("cgroup.procs", "cgroup.subtree_control", *([] if is_root else ["cgroup.events"])):
            (group / name).touch()
        return group

    def put(self, own: str, *, root: str = "/", more: str = "8:pids:/\n", kind: str = "cgroup2") -> None:
        """The process into a group."""
        (self.process / "cgroup").write_text(f"{more}0::{own}\n")
        mount = str(self.mount).replace(" ", "\\040")
        (self.process / "mountinfo").write_text(
            "22 1 0:20 / /proc rw,relatime - proc proc rw\n"
            f"30 22 0:26 {root} {mount} rw,nosuid shared:9 - {kind} cgroup2 rw,nsdelegate\n"
        )

    def find(self, wanted: str = "auto"):
        return find_place(wanted, process=self.process, systemd=self.systemd)

    def refusal(self, wanted: str = "auto") -> str:
        with pytest.raises(NoControlGroups) as caught:
            self.find(wanted)
        return str(caught.value)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def delegate(group: Path) -> None:
    try:
        os.setxattr(group, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"this folder takes no extended attributes: {error}")


def test_the_group_of_a_container_is_ours(machine: Machine):
    group = machine.group("/")
    machine.put("/")
    place = machine.find()
    assert (place.folder, place.is_root, place.is_own) == (group, False, True)
    assert place.controllers() == {"cpu", "memory", "pids"}


def test_the_only_group_of_a_machine_without_systemd_is_ours_and_may_keep_its_processes(machine: Machine):
    machine.group("/", is_root=True)
    machine.put("/")
    assert machine.find().is_root


def test_the_group_is_found_below_what_the_mount_shows(machine: Machine):
    """A container sees its own part of the tree as the root of the mount, and its process by the machine's path."""
    group = machine.group("/inner")
    machine.put("/docker/abc/inner", root="/docker/abc")
    assert machine.find().folder == group


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs root: it may write into every group")
def test_root_takes_no_group_that_systemd_has_not_delegated(machine: Machine):
    group = machine.group("/user.slice/session-1.scope")
    machine.put("/user.slice/session-1.scope")
    machine.systemd.mkdir()
    assert "Delegate=yes" in machine.refusal()
    delegate(group)
    assert machine.find().folder == group


def test_an_account_takes_no_group_of_its_own_systemd_without_the_mark(machine: Machine):
    own = "/user.slice/user-1000.slice/user@1000.service/app.slice/shell.scope"
    group = machine.group(own)
    machine.put(own)
    machine.systemd.mkdir()
    assert "Delegate=yes" in machine.refusal()
    delegate(group)
    assert machine.find().folder == group


@pytest.mark.parametrize("name", ["cgroup.procs", "cgroup.subtree_control"])
def test_a_group_that_is_not_writable_in_all_that_it_takes_is_not_ours(machine: Machine, name: str):
    """A file that is not there is as little writable as another account's, for root as well."""
    group = machine.group("/")
    machine.put("/")
    (group / name).unlink()
    assert "not delegated" in machine.refusal()


@pytest.mark.parametrize("own", ["/../other", "/a/../..", "relative", ""])
def test_a_process_outside_of_what_it_can_see_has_no_place(machine: Machine, own: str):
    machine.group("/")
    machine.put(own)
    assert "can see" in machine.refusal()


def test_groups_of_version_1_are_no_place(machine: Machine):
    machine.group("/")
    machine.put("/", kind="cgroup")
    assert "version 2" in machine.refusal()


def test_a_machine_without_groups_has_no_place(machine: Machine):
    assert "version 2" in machine.refusal()


def test_a_named_group_is_taken_without_a_mark_and_says_whether_we_are_in_it(machine: Machine):
    """Whoever wrote the configuration knows whose it is."""
    own, other = machine.group("/service"), machine.group("/torchgate")
    machine.put("/service")
    machine.systemd.mkdir()
    assert machine.find(str(own)).is_own
    assert not machine.find(str(other)).is_own
    assert machine.find(str(other)).folder == other


def test_a_named_folder_that_is_no_group_is_said_to_be_none(machine: Machine, tmp_path: Path):
    for folder in (tmp_path, tmp_path / "absent"):
        assert "no folder of a control group" in machine.refusal(str(folder))


def test_off_is_no_place(machine: Machine):
    machine.group("/")
    machine.put("/")
    assert "off" in machine.refusal("off")
