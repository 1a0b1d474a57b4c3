"""The signing key is made once, kept, and lies in a private folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from torchgate.telemetry.signing_key import KEY_FILE, host_name, open_signer


class FakePrivateFolders:
    """Makes folders, and remembers which were to be private."""

    def __init__(self) -> None:
        self.made: list[Path] = []

    def make_private(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.made.append(folder)

    def swappers(self, folder: Path) -> tuple[str, ...]:
        return ()


def test_key_is_kept_between_starts(tmp_path: Path) -> None:
    folders = FakePrivateFolders()
    first = open_signer(tmp_path / "state", folders)
    second = open_signer(tmp_path / "state", folders)
    assert first.public_key.raw == second.public_key.raw
    assert folders.made == [tmp_path / "state"] * 2
    assert [path.name for path in (tmp_path / "state").iterdir()] == [KEY_FILE]


def test_instances_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        signers = list(pool.map(lambda _: open_signer(tmp_path, FakePrivateFolders()), range(8)))
    assert len({signer.public_key.raw for signer in signers}) == 1


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r".+"):
        open_signer(tmp_path, FakePrivateFolders())


def test_host_name_fits_into_file_and_key_names() -> None:
    assert host_name()
    assert set(host_name()) <= set("abcdefghijklmnopqrstuvwxyz0123456789.")
