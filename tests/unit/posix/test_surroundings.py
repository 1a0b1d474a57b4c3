"""Who may rename a folder around ours has ours, whatever its own mode says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from torchgate.posix.surroundings import swappers

pytestmark = pytest.mark.linux("mode bits")
FOREIGN_GROUP = 54321


@pytest.fixture
def around(tmp_path: Path) -> Path:
    """A folder closed to others, so that nothing above it counts but by its own."""
    folder = tmp_path / "around ü"
    (folder / "state").mkdir(parents=True)
    folder.chmod(0o755)
    assert swappers(folder / "state") == ()
    return folder


@pytest.mark.parametrize(
    ("mode", "who"),
    [(0o777, "everybody"), (0o757, "everybody"), (0o1777, ""), (0o755, ""), (0o700, ""), (0o1757, "")],
)
def test_it_is_the_write_right_without_the_sticky_bit(around: Path, mode: int, who: str):
    around.chmod(mode)
    found = swappers(around / "state")
    assert len(found) == bool(who)
    if who:
        assert f"{around}: its mode {mode:04o} lets {who} put another folder in the place" in found[0]
        assert found[0].endswith("(chmod +t)")


def test_a_folder_that_is_not_there_yet_is_judged_by_what_is(around: Path):
    around.chmod(0o777)
    assert len(swappers(around / "not" / "yet" / "there")) == 1


def test_a_group_of_others_counts_and_roots_does_not(around: Path):
    around.chmod(0o775)
    if os.geteuid() == 0:
        os.chown(around, -1, FOREIGN_GROUP)
        assert f"its group {FOREIGN_GROUP}" in swappers(around / "state")[0]
        os.chown(around, -1, 0)
        assert swappers(around / "state") == ()
    else:
        import grp
        import pwd

        mine = pwd.getpwuid(os.geteuid())
        is_private = grp.getgrgid(mine.pw_gid).gr_name == mine.pw_name
        assert len(swappers(around / "state")) == (0 if is_private else 1)


def test_where_a_link_lies_and_where_it_leads_both_count(around: Path, tmp_path: Path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "link").symlink_to(around / "state")
    assert [found.split(":")[0] for found in swappers(tmp_path / "open" / "link")] == [str(tmp_path / "open")]
    (tmp_path / "link").symlink_to(tmp_path / "open")
    assert [found.split(":")[0] for found in swappers(tmp_path / "link" / "state")] == [str(tmp_path / "open")]


@pytest.mark.parametrize("place", ["/var/lib/torchgate", "/run/torchgate", "/tmp/torchgate", "/var/tmp/x/y"])
def test_ordinary_places_are_ordinary(place: str):
    assert swappers(Path(place)) == ()
