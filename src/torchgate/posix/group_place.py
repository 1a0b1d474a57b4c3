"""Where this process may make control groups (cgroup v2): in the group that it was given, if it was given one."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import msgspec

CONTROLLERS = ("memory", "pids", "cpu")
"""What limits of workers need."""

_SYSTEMD = Path("/run/systemd/system")
"""Exists where systemd manages the machine's groups. Source: sd_booted(3)."""

_DELEGATED = ("user.delegate", "trusted.delegate")
"""Set to `1` by systemd on groups that it leaves to others. Source: systemd, CGROUP_DELEGATION.md."""


class NoControlGroups(Exception):
    """Why this process can't make any; the text is for people."""


class GroupPlace(msgspec.Struct, frozen=True):
    """A group in which we may make others.

    Args:
        folder: of the group.
        is_root: nobody's limit holds for it, and processes may stay in it.
        is_own: this process is directly in it.
    """

    folder: Path
    is_root: bool
    is_own: bool

    def controllers(self) -> frozenset[str]:
        """Those that the group could give to groups in it."""
        return frozenset((self.folder / "cgroup.controllers").read_text(encoding="ascii").split())


def find_place(wanted: str = "auto", *, process: Path = Path("/proc/self"), systemd: Path = _SYSTEMD) -> GroupPlace:
    """The place for groups of ours.

    Args:
        wanted: `engine.control_group`.
        process: of this process in /proc.
        systemd: exists where systemd manages groups.

    Raises:
        NoControlGroups: there is none.
    """
    if wanted == "off":
        raise NoControlGroups("engine.control_group is off")
    own = _own_folder(process)
    if wanted != "auto":
        return _named(Path(wanted), own)
    if own is None:
        raise NoControlGroups("this process is in no control group of version 2 that it can see")
    place = _place(own, own)
    _examine(place, is_managed=systemd.exists())
    return place


def _named(folder: Path, own: Path | None) -> GroupPlace:
    """The group that the configuration names: whoever wrote that knows whose it is."""
    if not (folder / "cgroup.subtree_control").is_file():
        raise NoControlGroups(f"{folder} is no folder of a control group (version 2)")
    if not _is_writable(folder):
        raise NoControlGroups(f"{folder} is not writable for this account")
    return _place(folder, own)


def _examine(place: GroupPlace, *, is_managed: bool) -> None:
    """Refuse what may be written and is somebody else's all the same."""
    if not _is_writable(place.folder):
        raise NoControlGroups(f"{place.folder} is not delegated to this account (systemd: Delegate=yes)")
    # Root may write everywhere, and an account in all groups of its own systemd: there, the mark tells.
    needs_mark = is_managed and (_is_superuser() or "/user@" in str(place.folder))
    if needs_mark and not _is_marked(place.folder):
        raise NoControlGroups(f"{place.folder} belongs to systemd, which has not delegated it (Delegate=yes)")


def _own_folder(process: Path) -> Path | None:
    """Of the group that this process is in; None where that can't be seen."""
    try:
        groups = (process / "cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (process / "mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    own = next((line.removeprefix("0::") for line in groups if line.startswith("0::")), "")
    if not own.startswith("/") or "/../" in f"{own}/":  # outside of what this process's namespace shows
        return None
    for line in mounts:
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            root, mount_point = (_unescaped(field) for field in fields.split(" ")[3:5])
            if Path(own).is_relative_to(root):
                return Path(mount_point) / Path(own).relative_to(root)
    return None


def _place(folder: Path, own: Path | None) -> GroupPlace:
    # The one group of a machine that has no parent has no such file.
    return GroupPlace(folder, is_root=not (folder / "cgroup.events").exists(), is_own=folder == own)


def _is_writable(folder: Path) -> bool:
    files = (folder, folder / "cgroup.procs", folder / "cgroup.subtree_control")
    return all(os.access(file, os.W_OK) for file in files)


def _is_superuser() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _is_marked(folder: Path) -> bool:
    if sys.platform != "linux":
        return False
    for name in _DELEGATED:
        try:
            if os.getxattr(folder, name) == b"1":
                return True
        except OSError:
            continue
    return False


def _unescaped(field: str) -> str:
    r"""A path as mountinfo writes it: a space is `\040`."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
