"""What a server leaves in the project for other commands, and takes away again."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchgate.project import (
    ProjectError,
    RunningServer,
    announce_server,
    create_project,
    development_token,
    running_server,
    withdraw_server,
    withdraw_tokens,
    write_tokens,
)


class OrdinaryFolders:
    """PrivateFolders for where privacy is not what is tested."""

    def make_private(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)

    def swappers(self, folder: Path) -> tuple[str, ...]:
        return ()


def test_a_project_may_go_into_an_empty_folder_and_is_the_same_each_time(tmp_path: Path):
    """And no line end of Windows gets into it."""
    first = create_project(tmp_path)
    second = create_project(tmp_path / "in" / "another")
    assert [path.relative_to(tmp_path) for path in first] == [
        path.relative_to(tmp_path / "in" / "another") for path in second
    ]
    assert not any(b"\r" in path.read_bytes() for path in first)


def test_a_project_is_not_written_over_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(ProjectError, match="can't be written"):
        create_project(tmp_path / "file")


def test_the_server_started_last_is_named_and_only_it_takes_its_name_away(tmp_path: Path):
    """An overlapping recycle: the old one stops after the new one has started."""
    old, new = RunningServer(1, "http://127.0.0.1:1", "0"), RunningServer(2, "http://127.0.0.1:2", "0")
    announce_server(tmp_path, old)
    announce_server(tmp_path, new)
    withdraw_server(tmp_path, old.pid)
    assert running_server(tmp_path) == new
    withdraw_server(tmp_path, new.pid)
    with pytest.raises(ProjectError, match="torchgate serve"):
        running_server(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": "x"}', b"\xff"])
def test_a_damaged_server_file_is_a_sentence(tmp_path: Path, content: bytes):
    (tmp_path / "server.json").write_bytes(content)
    with pytest.raises(ProjectError, match="can't be read"):
        running_server(tmp_path)
    withdraw_server(tmp_path, 1)


def test_tokens_of_a_server_that_is_gone_are_removed(tmp_path: Path):
    """A killed server left its own; the next start knows none of them."""
    write_tokens(tmp_path, {"old": "tgdev_old", "analyst": "tgdev_1"}, OrdinaryFolders())
    write_tokens(tmp_path, {"analyst": "tgdev_2"}, OrdinaryFolders())
    assert development_token(tmp_path, "analyst") == "tgdev_2"
    with pytest.raises(ProjectError, match="analyst"):
        development_token(tmp_path, "old")
    withdraw_tokens(tmp_path, {"analyst": "tgdev_1"})
    assert development_token(tmp_path, "analyst") == "tgdev_2"
    withdraw_tokens(tmp_path, {"analyst": "tgdev_2"})
    assert list((tmp_path / "development").iterdir()) == []


@pytest.mark.parametrize("name", ["../analyst", "a/b", "a\\b", "", "C:x", "nul.token", "x" * 65])
def test_a_name_that_is_a_path_reads_nothing(tmp_path: Path, name: str):
    with pytest.raises(ProjectError, match="can't be the name"):
        development_token(tmp_path, name)
