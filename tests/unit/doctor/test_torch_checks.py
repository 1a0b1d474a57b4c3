"""torch as a worker meets it: processes whose torch can't be imported, and facts of good and bad machines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.rigs.doctor_world import only, verdicts, world_of

import torchgate
from torchgate.contract.diagnosis import Diagnosis
from torchgate.contract.survey import Device, Facts, PythonFacts, TorchFacts
from torchgate.doctor import torch_checks
from torchgate.engine.pin.lock import LOCK_FILE, lock_of, lock_text
from torchgate.engine.pin.surveyor import Seen

PACKAGE_FOLDER = Path(torchgate.__file__).parent.parent
SUMS = {"conv": (1.0,), "matmul": (1.0,), "softmax": (1.0,)}
H200 = Device("NVIDIA H200", "9.0", 143771)
CUDA_13 = TorchFacts("2.13.0+cu130", "abc", "13.0", 92000, ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120"))
CPU = TorchFacts("2.13.0+cpu", "abc", "", 0, ())


def seen(torch: TorchFacts = CUDA_13, *devices: Device, **changes: Any) -> Seen:
    """A machine with these devices, all of which compute."""
    facts = Facts("0.1.0", PythonFacts("3.11.2", "CPython", "", "Linux", ""), torch, "580.95.05", 13000, devices, {})
    places = ["cpu", *(f"cuda:{index}" for index in range(len(devices)))]
    return Seen(msgspec.structs.replace(facts, **changes), dict.fromkeys(places, SUMS), {})


def told(machine: Seen, *wanted: str, is_windows: bool = False) -> list[Diagnosis]:
    models = {f"digits:{index}": device for index, device in enumerate(wanted)}
    return list(torch_checks.told(machine, models, is_windows=is_windows))


def test_a_sound_machine_is_ok():
    assert set(verdicts(told(seen(CUDA_13, H200), "cuda", "cuda:0"))) == {"ok"}
    assert set(verdicts(told(seen(CPU, driver_cuda=0)))) == {"ok"}


def test_a_build_without_cuda_is_red_where_a_model_wants_it():
    found = only(told(seen(CPU, driver_cuda=0), "cuda"), "red")
    assert "build without CUDA" in found.seen
    assert "digits:0" in found.place


def test_a_device_that_is_not_there_is_red_with_what_torch_complained_of():
    machine = seen(CUDA_13, H200, trouble="The NVIDIA driver on your system is too old")
    found = only(told(machine, "cuda:0", "cuda:3"), "red")
    assert "wants cuda:3, and torch sees 1 devices (The NVIDIA driver on your system is too old)" in found.seen


@pytest.mark.parametrize(
    ("capability", "architectures", "fits"),
    [
        ("9.0", ("sm_90",), True),
        ("9.0", ("sm_90a",), True),
        ("8.9", ("sm_80", "sm_86"), True),
        ("8.6", ("sm_89",), False),
        ("7.0", ("sm_75", "sm_80"), False),
        ("12.0", ("sm_90",), False),
        ("12.0", ("sm_90", "compute_90"), True),
        ("10.3", ("sm_100",), True),
        ("9.0", ("gfx90a", ""), False),
        ("9.0", (), False),
    ],
)
def test_kernels_fit_devices_of_their_own_generation(capability: str, architectures: tuple[str, ...], fits: bool):
    """Binary compatibility holds within a major version, upwards."""
    assert torch_checks.fits_architectures(Device("x", capability, 1), architectures) is fits


def test_a_device_that_the_build_has_no_kernels_for_is_red():
    found = only(told(seen(CUDA_13, Device("Tesla V100", "7.0", 16384))), "red")
    assert "torch has no kernels for it" in found.seen
    assert "sm_75" in found.wanted


def test_a_device_that_does_not_compute_is_red():
    machine = msgspec.structs.replace(seen(CUDA_13, H200), failures={"cuda:0": "CUDA error: device busy"})
    assert "device busy" in only(told(machine), "red").seen


@pytest.mark.parametrize(
    ("cuda", "driver_cuda", "verdict"),
    [("13.0", 12080, "red"), ("13.2", 13000, "amber"), ("13.0", 13000, "ok"), ("12.6", 13000, "ok")],
)
def test_the_driver_must_know_the_builds_cuda(cuda: str, driver_cuda: int, verdict: str):
    machine = seen(msgspec.structs.replace(CUDA_13, cuda=cuda), H200, driver_cuda=driver_cuda)
    found = [one for one in told(machine) if "torch is built with CUDA" in one.seen]
    assert verdicts(found) == [verdict]
    assert verdict != "red" or found[0].wanted == "driver 580 or later"


BROKEN = {
    "not installed": ("raise ModuleNotFoundError(\"No module named 'torch'\")", "in this very environment"),
    "a runtime is missing": (
        "raise OSError('[WinError 126] The specified module could not be found. Error loading \"c10.dll\"')",
        "Visual C++",
    ),
    "memory is short": ("raise OSError('[WinError 1455] The paging file is too small')", "paging file"),
    "an import fails": ("raise ImportError('DLL load failed while importing _C')", "Visual C++"),
    "another reason": ("raise ImportError('who knows')", "python -c"),
    "the process dies": ("import os\nos._exit(70)", "python -c"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_torch_that_cannot_be_imported_is_red_with_what_to_do(case: str, tmp_path: Path):
    code, remedy = BROKEN[case]
    (tmp_path / "modules" / "torch").mkdir(parents=True)
    (tmp_path / "modules" / "torch" / "__init__.py").write_text(code, encoding="utf-8")
    if sys.platform == "win32":
        from torchgate.windows.children import WindowsChildren as Children
    else:
        from torchgate.posix.children import PosixChildren as Children
    world = world_of(
        tmp_path / "project", children=lambda: Children(module_folders=(tmp_path / "modules", PACKAGE_FOLDER))
    )
    (found,) = torch_checks.torch(world)
    assert (found.verdict, remedy in found.remedy) == ("red", True), found


def test_a_torch_that_does_not_come_to_an_end_is_given_up(tmp_path: Path):
    (tmp_path / "modules" / "torch").mkdir(parents=True)
    (tmp_path / "modules" / "torch" / "__init__.py").write_text("import threading\nthreading.Event().wait()", "utf-8")
    if sys.platform == "win32":
        from torchgate.windows.children import WindowsChildren as Children
    else:
        from torchgate.posix.children import PosixChildren as Children
    world = world_of(
        tmp_path / "project",
        "[pin]\ntimeout_s = 5.0\n",
        children=lambda: Children(module_folders=(tmp_path / "modules", PACKAGE_FOLDER)),
    )
    (found,) = torch_checks.torch(world)
    assert (found.verdict, "took longer than 5 s" in found.seen) == ("red", True), found


def locked(folder: Path, machine: Seen, settings: str = "") -> list[Diagnosis]:
    """A machine beside the lock of a sound one with an H200."""
    world = world_of(folder, settings)
    sound = seen(CUDA_13, H200)
    (folder / LOCK_FILE).write_text(lock_text(lock_of(sound.facts, sound.canaries, {})), encoding="utf-8")
    return list(torch_checks.against_lock(world, machine))


def test_what_was_locked_is_compared(tmp_path: Path):
    assert verdicts(locked(tmp_path, seen(CUDA_13, H200))) == ["ok"]
    other = msgspec.structs.replace(CUDA_13, version="2.14.0+cu130")
    found = only(locked(tmp_path, seen(other, H200)), "red")
    assert (found.seen, found.wanted) == ("torch.version is 2.14.0+cu130.", "2.13.0+cu130, as locked")
    assert verdicts(locked(tmp_path, seen(other, H200), '[pin]\nmode = "warn"\n')) == ["amber"]


def test_a_lock_that_cannot_be_read_is_red_and_none_is_no_matter(tmp_path: Path):
    world = world_of(tmp_path)
    assert list(torch_checks.against_lock(world, seen())) == []
    (tmp_path / LOCK_FILE).write_bytes(b"\x00 no lock")
    assert verdicts(torch_checks.against_lock(world, seen())) == ["red"]
