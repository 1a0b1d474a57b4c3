"""The digest stands for every byte and every name in a version's folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from torchgate.engine.digest import DigestRefused, folder_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "1"
    (folder / "ordner ü").mkdir(parents=True)
    (folder / "b.txt").write_bytes(b"b")
    (folder / "ordner ü" / "a.bin").write_bytes(b"\0" * 100_000)
    return folder


def test_the_digest_is_that_of_sorted_paths_and_contents(folder: Path):
    lines = [
        f"{hashlib.sha256(b'b').hexdigest()}  b.txt\n",
        f"{hashlib.sha256(bytes(100_000)).hexdigest()}  ordner ü/a.bin\n",
    ]
    assert folder_digest(folder) == f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def test_any_change_of_a_name_or_a_byte_changes_the_digest(folder: Path):
    seen = {folder_digest(folder)}
    (folder / "b.txt").write_bytes(b"c")
    seen.add(folder_digest(folder))
    (folder / "b.txt").rename(folder / "c.txt")
    seen.add(folder_digest(folder))
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "model.pyc").write_bytes(b"")
    seen.add(folder_digest(folder))
    assert len(seen) == 4


@pytest.mark.linux("making a link needs a right on Windows that tests don't have")
@pytest.mark.parametrize("target", ["outside.txt", "outside"])
def test_a_link_that_leads_out_is_refused(folder: Path, target: str):
    """An attacker who may write a link reads no file of the server's by it."""
    (folder.parent / "outside").mkdir()
    (folder.parent / "outside.txt").write_text("secret", encoding="utf-8")
    (folder / "link").symlink_to(folder.parent / target)
    with pytest.raises(DigestRefused, match="link"):
        folder_digest(folder)


@pytest.mark.linux("making a link needs a right on Windows that tests don't have")
def test_a_link_to_a_folder_inside_is_refused_and_one_to_a_file_inside_is_not(folder: Path):
    (folder / "same.txt").symlink_to(folder / "b.txt")
    folder_digest(folder)
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    with pytest.raises(DigestRefused, match="loop"):
        folder_digest(folder)
