"""What a service prints is kept, within limits."""

from __future__ import annotations

from pathlib import Path

from torchgate.telemetry.log_files import LogFiles


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_each_process_and_each_full_file_begins_the_next_one(tmp_path: Path):
    folder = tmp_path / "lögs" / "of it"
    with LogFiles(folder, "pool", max_bytes=10) as first:
        first.write("ä line that fills it\n")
        first.write("another\n")
        assert first.path.name == "pool-000002.log"
    with LogFiles(folder, "pool", max_bytes=10) as second:
        second.write("later\n")
    assert names(folder) == ["pool-000001.log", "pool-000002.log", "pool-000003.log"]
    assert (folder / "pool-000001.log").read_text("utf-8") == "ä line that fills it\n"
    assert (folder / "pool-000003.log").read_bytes() == b"later\n"


def test_a_line_is_never_cut_by_the_end_of_a_file(tmp_path: Path):
    with LogFiles(tmp_path, "pool", max_bytes=5) as lines:
        for part in ("one ", "two ", "three\n", "four\n"):
            lines.write(part)
    assert (tmp_path / "pool-000001.log").read_text("utf-8") == "one two three\n"


def test_only_the_last_are_kept_and_files_of_others_stay(tmp_path: Path):
    (tmp_path / "pool-x.log").write_text("", encoding="utf-8")
    (tmp_path / "other-000001.log").write_text("", encoding="utf-8")
    for _ in range(5):
        LogFiles(tmp_path, "pool", kept=2).close()
    assert names(tmp_path) == ["other-000001.log", "pool-000004.log", "pool-000005.log", "pool-x.log"]


def test_what_no_encoding_has_is_escaped_and_nothing_is_raised_after_the_end(tmp_path: Path):
    lines = LogFiles(tmp_path, "pool")
    lines.write("\ud800\n")
    lines.close()
    assert lines.write("lost\n") == 5
    assert (tmp_path / "pool-000001.log").read_text("utf-8") == "\\ud800\n"
