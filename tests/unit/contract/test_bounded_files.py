"""What a person names as a file is read only where it is one, and only as far as it may go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from torchgate.contract.bounded_files import FileRefused, read_bounded


def test_a_file_may_hold_exactly_the_limit(tmp_path: Path):
    (tmp_path / "ü").write_bytes(b"12345")
    assert read_bounded(tmp_path / "ü", 5) == b"12345"
    with pytest.raises(FileRefused, match="it has 5 bytes, and may have 4"):
        read_bounded(tmp_path / "ü", 4)


def test_of_a_large_file_its_size_is_told_and_the_rest_not_read(tmp_path: Path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(64 << 20)
    with pytest.raises(FileRefused, match="it has 67,108,864 bytes, and may have 1,000"):
        read_bounded(tmp_path / "large", 1000)


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(FileRefused, match="it is a folder, and no file"):
        read_bounded(tmp_path, 10)


@pytest.mark.linux("named pipes in the file system")
def test_a_pipe_does_not_hang_the_reader(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileRefused, match="it is a pipe or a device, and no file"):
        read_bounded(tmp_path / "pipe", 10)


def test_a_refusal_reads_as_the_systems_own_errors_do(tmp_path: Path):
    """Whoever tells of a file that can't be read tells of this, too, without a word for it."""
    with pytest.raises(OSError, match="it is a folder, and no file") as told:
        read_bounded(tmp_path, 10)
    assert (told.value.strerror, told.value.filename) == ("it is a folder, and no file", str(tmp_path))
