"""What a command writes is there whole, or what was there before is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from torchgate.contract.whole_files import write_whole


def test_a_file_is_made_and_replaced(tmp_path: Path):
    for content in (b"one", b"", b"three"):
        write_whole(tmp_path / "ä file", content)
        assert [path.name for path in tmp_path.iterdir()] == ["ä file"]
        assert (tmp_path / "ä file").read_bytes() == content


def test_what_can_not_be_replaced_stays_and_nothing_is_left_beside_it(tmp_path: Path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.linux("a limit for the size of files")
def test_a_disk_that_fills_leaves_the_former_file(tmp_path: Path):
    import resource
    import signal

    (tmp_path / "file").write_bytes(b"former")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            write_whole(tmp_path / "file", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"former"
