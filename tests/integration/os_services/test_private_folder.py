import stat

import pytest


def test_a_private_folder_is_made_and_usable(private_folders, tmp_path):
    folder = tmp_path / "state" / "segment ü"
    private_folders.make_private(folder)
    private_folders.make_private(folder)
    (folder / "file").write_text("ours", encoding="utf-8")
    assert (folder / "file").read_text(encoding="utf-8") == "ours"


@pytest.mark.linux("mode bits")
def test_others_have_no_access(private_folders, tmp_path):
    folder = tmp_path / "open"
    folder.mkdir(mode=0o777)
    private_folders.make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.windows("access lists")
def test_the_access_list_names_nobody_but_us_administrators_and_the_system(private_folders, tmp_path):
    import win32security

    from torchgate.windows.access_list import own_sid

    folder = tmp_path / "private"
    private_folders.make_private(folder)
    descriptor = win32security.GetNamedSecurityInfo(
        str(folder), win32security.SE_FILE_OBJECT, win32security.DACL_SECURITY_INFORMATION
    )
    entries = descriptor.GetSecurityDescriptorDacl()
    named = {win32security.ConvertSidToStringSid(entries.GetAce(number)[2]) for number in range(entries.GetAceCount())}
    assert own_sid() in named
    assert named <= {own_sid(), "S-1-5-32-544", "S-1-5-18"}  # Wine has no place for administrators


def test_what_is_around_it_is_told_and_what_is_in_it_is_not(private_folders, tmp_path):
    folder = tmp_path / "state"
    private_folders.make_private(folder)
    inner = private_folders.swappers(folder / "inner")
    assert inner == private_folders.swappers(folder), "the folder itself lets nobody in"
