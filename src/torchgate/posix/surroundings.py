"""Who could put another folder in the place of ours: whoever may rename what lies in a folder around it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import grp
    import pwd


def swappers(folder: Path) -> tuple[str, ...]:
    """One sentence for each folder around this one in which others may rename and replace, with the remedy.

    Where the sticky bit is set, as in /tmp, nobody may touch what is not theirs. Owners are believed: a project belongs
    to whoever made it, and its settings lie there, too. A group of nobody else is no other.

    Args:
        folder: that it is about; what is not there yet is passed over.
    """
    found = []
    seen = set()
    for place in _around(folder):
        try:
            status = place.stat()
        except OSError:
            continue  # not there yet; or we may not look, and then neither may most others
        if (status.st_dev, status.st_ino) in seen:
            continue  # by another name
        seen.add((status.st_dev, status.st_ino))
        if who := _who(status):
            found.append(
                f"{place}: its mode {stat.S_IMODE(status.st_mode):04o} lets {who} put another folder in the place of "
                f"what lies there. Take that right away (chmod go-w), or let nobody touch what is not theirs (chmod +t)"
            )
    return tuple(found)


def _around(folder: Path) -> Iterator[Path]:
    """The folders around it, nearest first: where links in its name lead to, and then as its name has them."""
    named, real = Path(os.path.abspath(folder)), Path(os.path.realpath(folder))  # noqa: PTH100 - takes `..` away
    return iter(dict.fromkeys((*real.parents, *named.parents)))


def _who(status: os.stat_result) -> str:
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_ISVTX:
        return ""
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    if status.st_mode & stat.S_IWGRP and not _is_nobody_elses(status.st_gid, status.st_uid):
        return f"its group {_group_name(status.st_gid)}"
    return ""


def _is_nobody_elses(group: int, owner: int) -> bool:
    """Whether a group is root's, or the private one that many systems give each account."""
    if group == 0:
        return True
    if sys.platform == "win32":
        return False
    try:
        found, account = grp.getgrgid(group), pwd.getpwuid(owner)
    except KeyError:
        return False
    return account.pw_gid == group and found.gr_name == account.pw_name and not {*found.gr_mem} - {account.pw_name}


def _group_name(group: int) -> str:
    if sys.platform == "win32":
        return str(group)
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
