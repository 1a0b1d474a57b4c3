import sys

import pytest

if sys.platform == "win32":
    from torchgate.windows.private_file import WindowsPrivateFiles as PrivateFiles
else:
    from torchgate.posix.private_file import PosixPrivateFiles as PrivateFiles


def test_a_private_file_is_made_once_and_nobody_else_reads_it(tmp_path):
    file = tmp_path / "key ü.pem"
    PrivateFiles().write_new(file, b"secret")
    assert file.read_bytes() == b"secret"
    assert PrivateFiles().readers(file) == ""
    with pytest.raises(FileExistsError):
        PrivateFiles().write_new(file, b"another")
    assert file.read_bytes() == b"secret"


def test_a_file_that_is_not_there_has_no_readers_to_tell(tmp_path):
    with pytest.raises(FileNotFoundError):
        PrivateFiles().readers(tmp_path / "missing")


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError):
        PrivateFiles().write_new(tmp_path / "missing" / "key.pem", b"secret")


@pytest.mark.linux("mode bits")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_open_to_others_is_told_by_its_mode(tmp_path, mode):
    file = tmp_path / "key.pem"
    PrivateFiles().write_new(file, b"secret")
    file.chmod(mode)
    assert f"{mode:04o}" in PrivateFiles().readers(file)


@pytest.mark.windows("access lists")
def test_a_file_open_to_everybody_is_told_by_their_sid(tmp_path):
    import win32security

    file = tmp_path / "key.pem"
    PrivateFiles().write_new(file, b"secret")
    everybody = win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(
        "D:P(A;;FR;;;WD)", win32security.SDDL_REVISION_1
    )
    win32security.SetFileSecurity(str(file), win32security.DACL_SECURITY_INFORMATION, everybody)
    assert "S-1-1-0" in PrivateFiles().readers(file)
