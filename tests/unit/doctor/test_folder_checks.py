"""Folders are written to, to see whether they can be; nothing is left in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.machine import FixedMachine
from tests.rigs.doctor_world import environment, only, verdicts, world_of

from torchgate.doctor import folder_checks
from torchgate.doctor.world import World

KINDS = ("TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def with_caches(project: Path, folder: Path) -> World:
    variables = {name: str(folder / name.lower()) for name in KINDS}
    return world_of(project, environment=environment(**variables))


def test_caches_that_can_be_written_are_ok_and_left_as_they_were(tmp_path: Path):
    (tmp_path / "caches").mkdir()
    found = list(folder_checks.caches(with_caches(tmp_path / "project", tmp_path / "caches")))
    assert verdicts(found) == ["ok"] * 3
    assert list((tmp_path / "caches").iterdir()) == []


def test_a_file_in_place_of_a_cache_is_red_with_the_setting(tmp_path: Path):
    (tmp_path / "caches").write_bytes(b"")
    found = list(folder_checks.caches(with_caches(tmp_path / "project", tmp_path / "caches")))
    assert verdicts(found) == ["red"] * 3
    assert "is no folder" in found[0].seen
    assert "Set TORCH_HOME" in found[0].remedy


@pytest.mark.parametrize("name", ["TMPDIR", "TEMP"])
def test_the_temporary_folder_must_take_files(name: str, tmp_path: Path):
    bare = {key: value for key, value in environment().items() if key not in ("TMPDIR", "TEMP", "TMP")}
    good = world_of(tmp_path / "project", environment={**bare, name: str(tmp_path)})
    assert set(verdicts(folder_checks.temporary(good))) <= {"ok", "amber"}
    (tmp_path / "file").write_bytes(b"")
    bad = world_of(tmp_path / "project", environment={**bare, name: str(tmp_path / "file" / "deep")})
    assert "is no folder" in only(folder_checks.temporary(bad), "red").seen


def test_a_state_folder_of_ones_own_is_ok(tmp_path: Path):
    world = world_of(tmp_path)
    world.settings.state.folder.mkdir()
    found = list(folder_checks.state(world))
    assert found[0].verdict == "ok"
    assert "by no other" in found[0].seen
    assert list(world.settings.state.folder.iterdir()) == []


def test_a_state_folder_that_is_a_file_is_red(tmp_path: Path):
    world = world_of(tmp_path)
    world.settings.state.folder.write_bytes(b"")
    assert "is no folder" in only(folder_checks.state(world), "red").seen


def test_a_state_folder_that_others_may_change_is_red(tmp_path: Path):
    world = world_of(tmp_path, machine=FixedMachine(open_to="its mode 0777 lets everybody write there"))
    world.settings.state.folder.mkdir()
    assert "everybody" in only(folder_checks.state(world), "red").seen


def test_access_lists_that_cannot_be_read_are_skipped_with_the_reason(tmp_path: Path):
    world = world_of(tmp_path, machine=FixedMachine(open_to=OSError(5, "Access is denied")))
    world.settings.state.folder.mkdir()
    assert "Access is denied" in only(folder_checks.state(world), "skipped").seen


@pytest.mark.parametrize(("free", "verdict"), [(50 << 20, "red"), (500 << 20, "amber"), (2 << 30, "ok")])
def test_little_room_is_told_before_it_is_gone(free: int, verdict: str, tmp_path: Path):
    (found,) = folder_checks.room(free, "the trail", tmp_path)
    assert found.verdict == verdict
    assert f"{free / (1 << 30):.1f} GiB are free for the trail" in found.seen


def test_a_folder_around_the_state_that_others_can_replace_is_amber(tmp_path: Path):
    sentence = "/srv: its mode 0777 lets everybody put another folder in the place of what lies there. Take it away"
    found = only(folder_checks.state(world_of(tmp_path, machine=FixedMachine(around=(sentence,)))), "amber")
    assert (found.seen, found.remedy) == (f"{sentence.rpartition('. ')[0]}.", "Take it away.")
    assert found.place == "state.folder"
    assert "amber" not in verdicts(folder_checks.state(world_of(tmp_path)))
