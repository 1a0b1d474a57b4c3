"""What nvidia-smi answers, on good and on bad machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.machine import FixedMachine, FixedPrograms
from tests.rigs.doctor_world import only, verdicts, world_of

from torchgate.contract.programs import ProgramAnswer
from torchgate.doctor import gpu_checks
from torchgate.doctor.world import World

H200 = "0, NVIDIA H200, 580.95.05, 143771, 512, [N/A], Default\n"
WDDM = (
    "0, NVIDIA RTX 6000 Ada Generation, 581.15, 49140, 1024, WDDM, Default\n1, Tesla T4, 581.15, 8, 1, TCC, Default\n"
)
DELAY = (gpu_checks._GRAPHICS, "TdrDelay")
LEVEL = (gpu_checks._GRAPHICS, "TdrLevel")
MODEL = """
format = "class"
entry = "model.py:Model"
device = "cuda"
[[inputs]]
name = "x"
datatype = "FP32"
shape = [1]
[[outputs]]
name = "y"
datatype = "FP32"
shape = [1]
"""


def world_with(
    folder: Path, answer: ProgramAnswer | OSError | TimeoutError, *, wants: bool = True, **changes: object
) -> World:
    version = folder / "models" / "digits" / "1"
    version.mkdir(parents=True)
    (version.parent / "model.toml").write_text(MODEL if wants else MODEL.replace("cuda", "cpu"), encoding="utf-8")
    (version / "model.py").write_text("class Model:\n    pass\n", encoding="utf-8")
    return world_of(folder, '[models]\nallow_code = ["digits"]\n', programs=FixedPrograms(answer), **changes)


def test_a_driver_and_its_device_are_ok(tmp_path: Path):
    (found,) = gpu_checks.driver(world_with(tmp_path, ProgramAnswer(0, H200), is_windows=False))
    assert (found.verdict, found.seen) == ("ok", "NVIDIA H200, driver 580.95.05, 512 of 143771 MiB in use.")


NOTHING = {
    "not installed": FileNotFoundError(2, "No such file or directory"),
    "no driver": ProgramAnswer(9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"),
    "hangs": TimeoutError("nvidia-smi did not end within 12 s"),
    "no devices": ProgramAnswer(0, "No devices were found\n"),
    "garbage": ProgramAnswer(0, "0, 1\n\x00\n"),
}


@pytest.mark.parametrize("wants", [True, False], ids=["a model wants one", "no model wants one"])
@pytest.mark.parametrize("answer", NOTHING.values(), ids=NOTHING)
def test_no_device_is_red_where_a_model_wants_one(
    answer: ProgramAnswer | OSError | TimeoutError, wants: bool, tmp_path: Path
):
    (found,) = gpu_checks.driver(world_with(tmp_path, answer, wants=wants))
    assert found.verdict == ("red" if wants else "skipped")
    assert not wants or "digits:1 (cuda)" in found.seen


def test_a_desktops_driver_model_is_told_with_its_time_limit(tmp_path: Path):
    world = world_with(tmp_path, ProgramAnswer(0, WDDM), is_windows=True)
    found = list(gpu_checks.driver(world))
    assert verdicts(found) == ["ok", "amber", "ok"], "TCC has no such limit"
    assert "more than 2 s" in found[1].seen


@pytest.mark.parametrize(
    ("registry", "words"), [({DELAY: 60}, "session 0"), ({LEVEL: 0}, "session 0"), ({DELAY: 8}, "more than 8 s")]
)
def test_a_time_limit_that_somebody_has_changed_is_read(
    registry: dict[tuple[str, str], int | str], words: str, tmp_path: Path
):
    machine = FixedMachine(registry=registry)
    world = world_with(tmp_path, ProgramAnswer(0, WDDM), is_windows=True, machine=machine)
    assert words in only(gpu_checks.driver(world), "amber").seen


@pytest.mark.parametrize(("mode", "verdict"), [("Prohibited", "red"), ("Exclusive_Process", "amber")])
def test_a_compute_mode_that_keeps_workers_out_is_told(mode: str, verdict: str, tmp_path: Path):
    answer = ProgramAnswer(0, H200.replace("Default", mode))
    assert mode in only(gpu_checks.driver(world_with(tmp_path, answer, is_windows=False)), verdict).seen
