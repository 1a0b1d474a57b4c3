"""A secret's file holds the current value, its neighbours the other states; others may not read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from torchgate.access.secrets.file import FileSecret
from torchgate.access.secrets.secret import Secret, SecretUnreadable
from torchgate.secret_places import private_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ä ö"
    folder.mkdir()
    return folder


def write(path: Path, value: bytes) -> None:
    path.unlink(missing_ok=True)
    private_files().write_new(path, value)


def read(path: Path) -> Secret:
    return FileSecret("file:x", path, private_files()).read()


def test_a_file_holds_the_value_and_its_neighbours_the_other_states(folder: Path) -> None:
    write(folder / "pepper", b"now\r\n")
    write(folder / "pepper.next", b"soon\n")
    secret = read(folder / "pepper")
    assert [(state, one.value) for state, one in secret.by_state()] == [("current", b"now"), ("next", b"soon")]
    write(folder / "pepper.previous", b"before")
    assert [state for state, _ in read(folder / "pepper").by_state()] == ["current", "previous", "next"]


def test_its_version_is_when_it_was_written_and_tells_nothing_of_the_value(folder: Path) -> None:
    write(folder / "pepper", b"now")
    os.utime(folder / "pepper", ns=(0, 1_500_000_000))
    assert read(folder / "pepper").versions() == "current 1970-01-01T00:00:01.500000Z"


def test_a_replaced_file_is_seen_at_the_next_read(folder: Path) -> None:
    write(folder / "pepper", b"now")
    source = FileSecret("file:x", folder / "pepper", private_files())
    assert source.read().current.value == b"now"
    write(folder / "draft", b"new")
    (folder / "draft").replace(folder / "pepper")
    assert source.read().current.value == b"new"


@pytest.mark.linux("links without a privilege, as Kubernetes swaps them")
def test_a_link_is_followed_to_where_it_points_now(folder: Path) -> None:
    for name, value in (("one", b"1"), ("two", b"2")):
        (folder / name).mkdir()
        write(folder / name / "pepper", value)
    (folder / "data").symlink_to("one")
    (folder / "pepper").symlink_to("data/pepper")
    source = FileSecret("file:x", folder / "pepper", private_files())
    assert source.read().current.value == b"1"
    (folder / "new").symlink_to("two")
    (folder / "new").replace(folder / "data")
    assert source.read().current.value == b"2"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"x" * 65_537])
def test_a_file_without_a_usable_value_is_an_error(folder: Path, content: bytes | None) -> None:
    if content is not None:
        write(folder / "pepper", content)
    with pytest.raises(SecretUnreadable, match="pepper"):
        read(folder / "pepper")


@pytest.mark.linux("mode bits")
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o666])
@pytest.mark.parametrize("name", ["pepper", "pepper.next"])
def test_a_file_that_others_may_open_is_refused(folder: Path, mode: int, name: str) -> None:
    write(folder / "pepper", b"hunter2")
    write(folder / "pepper.next", b"hunter3")
    (folder / name).chmod(mode)
    with pytest.raises(SecretUnreadable, match=f"{name} is open to others.*{mode:04o}") as caught:
        read(folder / "pepper")
    assert "hunter" not in str(caught.value)


@pytest.mark.windows("access lists")
def test_a_file_that_everybody_may_read_is_refused(folder: Path) -> None:
    import win32security

    write(folder / "pepper", b"hunter2")
    everybody = win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(
        "D:P(A;;FA;;;WD)", win32security.SDDL_REVISION_1
    )
    win32security.SetFileSecurity(str(folder / "pepper"), win32security.DACL_SECURITY_INFORMATION, everybody)
    with pytest.raises(SecretUnreadable, match="open to others"):
        read(folder / "pepper")


def test_a_folder_in_place_of_a_file_is_an_error(folder: Path) -> None:
    with pytest.raises(SecretUnreadable, match="not a file"):
        read(folder)


@pytest.mark.linux("named pipes in the file system")
def test_a_pipe_in_place_of_a_file_does_not_hang_the_reader(folder: Path) -> None:
    os.mkfifo(folder / "pepper", 0o600)
    with pytest.raises(SecretUnreadable, match="not a file"):
        read(folder / "pepper")
