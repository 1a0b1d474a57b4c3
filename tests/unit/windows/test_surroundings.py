"""Who may rename a folder around ours has ours; access lists as Windows makes them by itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    from torchgate.windows.access_list import own_sid
    from torchgate.windows.surroundings import swappers

pytestmark = pytest.mark.windows("access lists")
READ = 0x1200A9
MODIFY = 0x1301BF
FULL = 0x1F01FF
ADD = 0x2 | 0x4 | 0x100 | 0x10  # what users may in ProgramData: make files and folders, and their attributes
USERS, ANYBODY = "S-1-5-32-545", "S-1-5-11"
SYSTEM, ADMINISTRATORS, OWNER = "S-1-5-18", "S-1-5-32-544", "S-1-3-0"


def found(folder: Path, sid: str, mask: int) -> tuple[str, ...]:
    """With this entry in the list of the folder around it, and nothing beside it above that."""
    entries = [(SYSTEM, FULL), (ADMINISTRATORS, FULL), (OWNER, FULL), (own_sid(), FULL)]
    return swappers(folder, lambda place: [*entries, *([(sid, mask)] if place == folder.parent else [])])


@pytest.mark.parametrize("mask", [READ, ADD, READ | ADD], ids=["read", "make", "both"])
def test_to_read_and_to_make_folders_harms_nobody(tmp_path: Path, mask: int):
    """As users may in ProgramData, and IIS_IUSRS in inetpub."""
    assert found(tmp_path / "state", USERS, mask) == ()


@pytest.mark.parametrize(
    "mask", [MODIFY, FULL, 0x10000, 0x40, 0x40000, 0x80000, 0x10000000], ids=lambda mask: f"{mask:#x}"
)
def test_who_may_rename_or_change_the_list_is_named_with_the_remedy(tmp_path: Path, mask: int):
    """As everybody who has logged in may in folders made in C:\\."""
    (told,) = found(tmp_path / "state", ANYBODY, mask)
    assert told.startswith(f"{tmp_path}: ")
    assert "may put another folder in the place of it" in told
    assert "icacls" in told


def test_a_drive_can_not_be_renamed(tmp_path: Path):
    root = Path(tmp_path.anchor)
    assert swappers(root / "state", lambda _: [(ANYBODY, MODIFY)]) == ()
    assert len(swappers(root / "state", lambda _: [(ANYBODY, FULL)])) == 1


def test_a_folder_without_a_list_is_everybodys(tmp_path: Path):
    told = swappers(tmp_path / "state", lambda place: None if place == tmp_path else [])
    assert len(told) == 1
    assert "everybody" in told[0]


def test_what_is_not_there_or_may_not_be_looked_at_is_passed_over(tmp_path: Path):
    def refused(_: Path) -> list[tuple[str, int]]:
        raise PermissionError

    assert swappers(tmp_path / "not" / "yet" / "there", refused) == ()
    assert len(swappers(tmp_path / "not" / "yet", lambda place: [(ANYBODY, FULL)] if place == tmp_path else [])) == 1


def test_the_system_is_asked_where_nobody_says_otherwise(tmp_path: Path):
    for told in swappers(tmp_path / "state"):
        assert any(told.startswith(f"{place}: ") for place in tmp_path.parents) or told.startswith(f"{tmp_path}: ")
