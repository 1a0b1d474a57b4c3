"""What a machine says of itself, ours and the tests' own: one suite for both."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.machine import FixedMachine

from torchgate.composition import private_folders
from torchgate.contract.machine import Machine, PortHolder
from torchgate.doctor.world import world_here

IS_WINDOWS = sys.platform == "win32"
IS_WINE = IS_WINDOWS and hasattr(ctypes.windll.ntdll, "wine_get_version")


@pytest.fixture(params=["real", "fake"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    if request.param == "fake":
        return FixedMachine()
    (tmp_path / "torchgate.toml").write_text("", encoding="utf-8")
    return world_here(tmp_path).machine


@pytest.fixture
def ours(tmp_path: Path) -> Machine:
    (tmp_path / "torchgate.toml").write_text("", encoding="utf-8")
    return world_here(tmp_path).machine


def test_it_says_as_whom_we_run(machine: Machine):
    assert machine.account()


def test_a_folder_for_us_alone_has_no_other_writers(machine: Machine, tmp_path: Path):
    private_folders().make_private(tmp_path / "private ü")
    assert machine.writers(tmp_path / "private ü") == ""


def test_a_folder_that_is_not_there_cannot_be_examined(machine: Machine, tmp_path: Path):
    with pytest.raises(OSError, match="away"):
        machine.writers(tmp_path / "away")


def test_a_file_that_is_not_there_has_no_version(machine: Machine, tmp_path: Path):
    with pytest.raises(OSError, match="away"):
        machine.file_version(tmp_path / "away.dll")


def test_a_file_without_a_version_has_none(machine: Machine, tmp_path: Path):
    (tmp_path / "plain.dll").write_bytes(b"MZ")
    assert machine.file_version(tmp_path / "plain.dll") == ""


def test_a_port_on_which_nobody_listens_has_no_holder(machine: Machine):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert machine.port_holders(bound.getsockname()[1]) == ()


def test_a_value_that_is_not_there_is_none(machine: Machine):
    assert machine.registry_value(r"SYSTEM\CurrentControlSet\Control\TorchgateIsNotThere", "Any") is None


def test_no_library_is_missing_where_none_is_named(machine: Machine):
    assert machine.missing_libraries(()) == ()


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_we_are_the_holder_of_our_own_port(family: socket.AddressFamily, host: str, ours: Machine):
    with socket.socket(family) as listening:
        listening.bind((host, 0))
        listening.listen(1)
        holders = ours.port_holders(listening.getsockname()[1])
    assert len(holders) == 1
    if IS_WINDOWS:
        return  # Wine tells no true process
    assert holders[0].pid == os.getpid()
    assert holders[0].program


def test_a_holder_is_shown_with_what_is_known():
    assert str(PortHolder(0)) == "a process that this account may not see"
    assert str(PortHolder(7)) == "process 7"
    assert str(PortHolder(7, "nginx")) == "process 7 (nginx)"


def test_the_limits_are_told(ours: Machine):
    assert {one.verdict for one in ours.limits()} <= {"ok", "amber", "red"}
    assert ours.limits()


@pytest.mark.linux("mode bits")
@pytest.mark.parametrize(
    ("mode", "words"), [(0o770, "its group"), (0o702, "everybody"), (0o722, "its group and everybody")]
)
def test_others_who_may_write_are_told_by_mode(mode: int, words: str, ours: Machine, tmp_path: Path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    assert f"lets {words} write there" in ours.writers(tmp_path / "open")


@pytest.mark.linux("ports that need a right")
def test_reservations_are_asked_of_the_kernel(ours: Machine):
    assert ours.reservations(65000) == ""
    with pytest.raises(OSError, match="no event log"):
        ours.events(("Any",), 1.0)


@pytest.mark.windows("access lists")
def test_others_who_may_write_are_told_by_access_list(ours: Machine, tmp_path: Path):
    import win32security

    (tmp_path / "open").mkdir()
    descriptor = win32security.ConvertStringSecurityDescriptorToSecurityDescriptor(
        "D:P(A;OICI;FA;;;BA)(A;OICI;0x1301bf;;;WD)", win32security.SDDL_REVISION_1
    )
    win32security.SetFileSecurity(str(tmp_path / "open"), win32security.DACL_SECURITY_INFORMATION, descriptor)
    assert "write there" in ours.writers(tmp_path / "open")


@pytest.mark.windows("version resources, the registry, libraries")
def test_windows_says_versions_values_and_libraries(ours: Machine):
    kernel = Path(os.environ["SYSTEMROOT"], "System32", "kernel32.dll")
    assert ours.file_version(kernel).count(".") == 3
    value = ours.registry_value(r"SOFTWARE\Microsoft\Windows NT\CurrentVersion", "CurrentVersion")
    assert isinstance(value, str)
    assert ours.missing_libraries(("kernel32.dll", "torchgate-is-not-there.dll")) == ("torchgate-is-not-there.dll",)


@pytest.mark.windows("job objects")
def test_the_processes_of_our_job_are_told(tmp_path: Path):
    """In a process of its own: nobody leaves a job."""
    program = (
        "import sys, win32api, win32job\n"
        "from pathlib import Path\n"
        "from torchgate.windows.machine import WindowsMachine\n"
        "from torchgate.windows.programs import WindowsPrograms\n"
        "job = win32job.CreateJobObject(None, '')\n"
        "win32job.AssignProcessToJobObject(job, win32api.GetCurrentProcess())\n"
        "import os\n"
        "print(os.getpid() in WindowsMachine(WindowsPrograms()).job_processes())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8", check=False
    )
    if IS_WINE and "Invalid handle" in done.stderr:
        pytest.skip("Wine: a job is queried by its own handle alone")
    assert done.stdout.strip() == "True", done.stderr
