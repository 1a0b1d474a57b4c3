"""A service's folder is its own, whoever was there before."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.rigs.wine import is_wine

pytestmark = pytest.mark.windows("access lists of this kind exist there alone")

if sys.platform == "win32":
    import win32security

    from torchgate.contract.virtual_accounts import sid_of_account
    from torchgate.windows.access_list import own_sid
    from torchgate.windows.service_folder import make_service_folder, owner_of_file

SERVICE = "NT SERVICE\\torchgate-nobody"
SOMEBODY = "S-1-5-21-1-2-3-1001"


def entries(folder: Path) -> set[str]:
    """Who may do everything there, and nobody may do less."""
    descriptor = win32security.GetFileSecurity(str(folder), win32security.DACL_SECURITY_INFORMATION)
    found = descriptor.GetSecurityDescriptorDacl()
    aces = [found.GetAce(index) for index in range(found.GetAceCount())]
    assert {ace[1] for ace in aces} == {0x1F01FF}, "FILE_ALL_ACCESS"
    return {win32security.ConvertSidToStringSid(ace[2]) for ace in aces}


def test_the_service_administrators_and_the_system_may_use_it(tmp_path: Path):
    folder = tmp_path / "of services" / "its öwn"
    for _ in range(2):
        make_service_folder(folder, SERVICE)
        admitted = {sid_of_account(SERVICE), "S-1-5-32-544", "S-1-5-18"}
        if is_wine():  # it keeps access lists as modes: the owner stands for all who are not everybody
            admitted = {own_sid(), "S-1-5-18"}
        assert entries(folder) == admitted


def test_an_account_that_is_nobody_is_said(tmp_path: Path):
    with pytest.raises(OSError, match="nobody-of-this-name"):
        make_service_folder(tmp_path / "folder", "nobody-of-this-name")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("which", ["of services", "its own"])
def test_a_folder_that_somebody_has_put_there_is_refused(tmp_path: Path, which: str):
    """Said for the file system, because Wine gives no file away."""
    folder = tmp_path / "of services" / "its own"
    folder.mkdir(parents=True)
    before = win32security.GetFileSecurity(str(folder), win32security.DACL_SECURITY_INFORMATION)

    def owner_of(place: Path) -> str:
        return SOMEBODY if place.name == which else owner_of_file(place)

    with pytest.raises(OSError, match=f"{which} belongs to {SOMEBODY}, who could put another folder in its place"):
        make_service_folder(folder, SERVICE, owner_of=owner_of)
    after = win32security.GetFileSecurity(str(folder), win32security.DACL_SECURITY_INFORMATION)
    assert bytes(after) == bytes(before), "nothing was changed"
