"""The interpreter and what it needs: good worlds are ok, bad ones are told with what to do."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.fakes.machine import FixedMachine
from tests.rigs.doctor_world import only, verdicts, world_of

from torchgate.doctor import python_checks
from torchgate.doctor.world import Interpreter, World


def with_interpreter(world: World, **changes: object) -> World:
    return msgspec.structs.replace(world, interpreter=msgspec.structs.replace(world.interpreter, **changes))


def test_this_interpreter_is_fit(tmp_path: Path):
    found = list(python_checks.interpreter(msgspec.structs.replace(world_of(tmp_path), is_windows=False)))
    assert set(verdicts(found)) == {"ok"}


@pytest.mark.parametrize(
    ("changes", "words"), [({"bits": 32}, "32 bits"), ({"version": "3.9.1"}, "Python is 3.9.1")], ids=["width", "age"]
)
def test_a_python_that_torch_cannot_use_is_red(changes: dict[str, object], words: str, tmp_path: Path):
    found = python_checks.interpreter(with_interpreter(world_of(tmp_path, is_windows=False), **changes))
    assert words in only(found, "red").seen


def test_an_interpreter_that_is_not_there_is_red(tmp_path: Path):
    world = with_interpreter(world_of(tmp_path), base=tmp_path / "gone" / "python.exe")
    assert "can't be read" in only(python_checks.interpreter(world), "red").seen


@pytest.mark.parametrize("folder", ["Microsoft/WindowsApps", "Users/ada/Python"])
@pytest.mark.parametrize("door", ["ancm", "direct"])
def test_a_python_of_one_user_is_no_python_of_a_pool(folder: str, door: str, tmp_path: Path):
    place = tmp_path / folder
    place.mkdir(parents=True)
    (place / "python.exe").write_bytes(b"MZ")
    world = world_of(tmp_path / "project", f'[gate]\nfront_door = "{door}"\n', is_windows=True)
    python = Interpreter(place / "python.exe", place / "python.exe", place, "3.11.2", 64)
    (found,) = python_checks.interpreter(msgspec.structs.replace(world, interpreter=python))
    assert found.verdict == ("amber" if (folder, door) == ("Users/ada/Python", "direct") else "red")


def test_the_public_profile_is_everybodys():
    assert python_checks._PER_USER.search("C:\\Users\\ada\\python.exe")
    assert not python_checks._PER_USER.search("C:\\Users\\Public\\python.exe")
    assert not python_checks._PER_USER.search("D:\\Python\\python.exe")


def environment_of(folder: Path, settings: str | None) -> Path:
    folder.mkdir()
    if settings is not None:
        (folder / "pyvenv.cfg").write_text(settings, encoding="utf-8")
    return folder


def test_a_virtual_environment_leads_to_its_interpreter(tmp_path: Path):
    (tmp_path / "Python ü").mkdir()
    prefix = environment_of(tmp_path / "venv", f"home = {tmp_path / 'Python ü'}\nversion = 3.11.2\n")
    world = with_interpreter(world_of(tmp_path / "project"), prefix=prefix)
    assert verdicts(python_checks.virtual_environment(world)) == ["ok"]


@pytest.mark.parametrize(
    "settings", ["home = {away}\n", "version = 3\n", "home = \n"], ids=["gone", "no home", "empty"]
)
def test_a_virtual_environment_whose_interpreter_is_gone_is_red(settings: str, tmp_path: Path):
    prefix = environment_of(tmp_path / "venv", settings.format(away=tmp_path / "away"))
    world = with_interpreter(world_of(tmp_path / "project"), prefix=prefix)
    assert verdicts(python_checks.virtual_environment(world)) == ["red"]


def test_without_a_virtual_environment_there_is_nothing_to_see(tmp_path: Path):
    world = with_interpreter(world_of(tmp_path / "project"), prefix=environment_of(tmp_path / "prefix", None))
    assert verdicts(python_checks.virtual_environment(world)) == ["skipped"]


def test_a_missing_runtime_is_named(tmp_path: Path):
    world = world_of(tmp_path, machine=FixedMachine(missing=("msvcp140.dll",)), is_windows=True)
    found = only(python_checks.runtime(world), "red")
    assert "msvcp140.dll" in found.seen
    assert "Redistributable" in found.remedy
    assert verdicts(python_checks.runtime(world_of(tmp_path, is_windows=True))) == ["ok"]
    assert verdicts(python_checks.runtime(world_of(tmp_path, is_windows=False))) == ["skipped"]


def test_a_pool_without_a_profile_is_red(tmp_path: Path):
    lost = {"USERPROFILE": "C:\\Windows\\system32\\config\\systemprofile", "TEMP": "D:\\temp"}
    found = only(python_checks.profile(world_of(tmp_path, environment=lost, is_windows=True)), "red")
    assert found.seen.startswith("USERPROFILE lead")
    assert "loadUserProfile" in found.remedy
    good = world_of(tmp_path, environment={"USERPROFILE": "C:\\Users\\models"}, is_windows=True)
    assert verdicts(python_checks.profile(good)) == ["ok"]
    assert verdicts(python_checks.profile(world_of(tmp_path, is_windows=False))) == ["skipped"]


@pytest.mark.parametrize(("count", "verdict"), [(0, "ok"), (16, "ok"), (17, "red")])
def test_seventeen_processes_are_too_many_for_iis(count: int, verdict: str, tmp_path: Path):
    world = world_of(tmp_path, machine=FixedMachine(job=tuple(range(1, count + 1))), is_windows=True)
    assert verdicts(python_checks.job(world)) == [verdict]
    assert verdicts(python_checks.job(msgspec.structs.replace(world, is_windows=False))) == ["skipped"]


def test_a_pyvenv_cfg_that_is_no_text_is_red(tmp_path: Path):
    prefix = environment_of(tmp_path / "venv", "")
    (prefix / "pyvenv.cfg").write_bytes(b"\xff\xfe\x00")
    world = with_interpreter(world_of(tmp_path / "project"), prefix=prefix)
    assert "it is no text" in only(python_checks.virtual_environment(world), "red").seen


def test_a_job_that_cannot_be_seen_is_skipped_with_the_reason(tmp_path: Path):
    world = world_of(tmp_path, machine=FixedMachine(job=OSError(6, "Invalid handle")), is_windows=True)
    assert "Invalid handle" in only(python_checks.job(world), "skipped").seen
