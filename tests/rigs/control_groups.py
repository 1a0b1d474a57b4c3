"""Control groups for tests: a place to make them in, or why there is none.

On a plain machine with version 2 that is the group which root or systemd has given us; inside `user_mode_linux` the
machine's only one. On a machine that has controllers in groups of version 1, groups of version 2 have none of them.
"""

from __future__ import annotations

import pytest

from torchgate.posix.group_place import GroupPlace, NoControlGroups, find_place


def missing(*controllers: str) -> str:
    """Why groups with these controllers can't be had here; empty if they can."""
    try:
        place = find_place("auto")
        absent = sorted(set(controllers) - place.controllers())
    except (NoControlGroups, OSError) as error:
        return str(error)
    return f"{place.folder} has no controller {', '.join(absent)}" if absent else ""


def place_with(*controllers: str) -> GroupPlace:
    """A place for groups with these controllers; the test is skipped where there is none."""
    why = missing(*controllers)
    if why:
        pytest.skip(f"needs cgroup v2: {why}")
    return find_place("auto")
