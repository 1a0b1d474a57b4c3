"""Control groups around real children, in whatever place there is; with controllers where the machine has them.

`test_control_groups_everywhere.py` runs this file once more on a machine that has them all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from tests.integration.os_services.conftest import PACKAGE_FOLDER, PROGRAMS, Started, start
from tests.rigs.control_groups import place_with
from tests.rigs.engine_questions import until
from tests.rigs.processes import has_ended, is_alive, kill

from torchgate.contract.clock import monotonic_s
from torchgate.contract.worker_limits import WorkerLimits

if sys.platform != "win32":
    from torchgate.posix.children import PosixChildren
    from torchgate.posix.control_groups import ControlGroups
    from torchgate.posix.group_place import GroupPlace, find_place
    from torchgate.posix.worker_group import remove_group

pytestmark = [pytest.mark.linux("control groups are Linux's")]

MIB = 1 << 20


@pytest.fixture
def place() -> GroupPlace:
    """Where groups can be made."""
    return place_with()


@pytest.fixture
def groups(place: GroupPlace) -> Iterator[ControlGroups]:
    groups = ControlGroups(place)
    yield groups
    groups.close()


@pytest.fixture
def start_grouped(groups: ControlGroups) -> Callable[[str], object]:
    children = PosixChildren(module_folders=(PROGRAMS, PACKAGE_FOLDER), groups=groups)
    return lambda what: start(what, children=children)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def pids_in(folder: Path) -> list[int]:
    return [int(word) for word in (folder / "cgroup.procs").read_text(encoding="ascii").split()]


def group_of(started: Started, groups: ControlGroups) -> Path:
    (folder,) = (one for one in groups.folder.glob("worker-*") if started.child.pid in pids_in(one))
    return folder


async def end(started: Started) -> None:
    started.child.kill()
    await started.child.wait()


async def test_what_has_left_session_and_parent_ends_with_its_worker_that_is_killed(start_grouped):
    started = await start_grouped("detach")
    grandchild = int(await started.line())
    assert psutil.Process(grandchild).ppid() != started.child.pid
    await end(started)
    assert has_ended(grandchild)


async def test_what_has_left_session_and_parent_ends_with_its_worker_that_ends_by_itself(start_grouped):
    started = await start_grouped("detach")
    grandchild = int(await started.line())
    started.child.write(b"end")
    assert await started.child.wait() == 0
    assert has_ended(grandchild)


async def test_each_worker_has_a_group_of_its_own_which_is_gone_after_the_next_start(start_grouped, groups):
    first, second = await start_grouped("echo"), await start_grouped("echo")
    folders = group_of(first, groups), group_of(second, groups)
    assert [pids_in(folder) for folder in folders] == [[first.child.pid], [second.child.pid]]
    await end(first)
    assert has_ended(first.child.pid)
    third = await start_grouped("echo")
    assert not folders[0].exists()
    assert pids_in(folders[1]) == [second.child.pid]
    await end(second)
    await end(third)


async def test_closing_ends_what_is_left_and_removes_everything(place, start_grouped, groups):
    started = await start_grouped("detach")
    grandchild = int(await started.line())
    groups.close()
    assert not groups.folder.exists()
    assert has_ended(grandchild)
    assert await started.child.wait() != 0


@contextmanager
def server_process(what: str, wanted: str = "auto") -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Another server with one child, and what it says of itself; it ends with the block."""
    command = [sys.executable, str(PROGRAMS / "grouped_parent.py"), wanted, what]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server, dict(server.stdout.readline().split(maxsplit=1) for _ in range(4))
    finally:
        server.kill()
        server.communicate()


def test_what_has_left_session_and_parent_ends_with_the_server_that_is_killed(place):
    with server_process("detach") as (server, said):
        server.kill()
        server.wait()
        assert has_ended(int(said["said"]))
        assert has_ended(int(said["child"]))
    ControlGroups(place).close()  # sweeps what is empty now
    assert not Path(said["folder"].strip()).exists()


def test_what_a_dead_server_left_is_ended_and_removed_by_the_next(place, caplog):
    """Nobody was left to do it: the server and its guard were both killed."""
    with other_group(place) as folder, server_process("detach", str(folder)) as (server, said):
        kill(int(said["guard"]))
        server.kill()
        server.wait()
        assert is_alive(int(said["said"]))
        ControlGroups(find_place(str(folder))).close()
        assert has_ended(int(said["said"]))
        assert names_in(folder) == set()
    assert any("that a dead server left" in line for line in caplog.messages)


def test_the_group_of_a_server_that_lives_is_left_alone(place):
    with server_process("detach") as (server, said):
        ControlGroups(place).close()
        assert is_alive(int(said["said"]))
        server.communicate("end\n")
        assert server.returncode == 0
        assert has_ended(int(said["said"]))
    assert not Path(said["folder"].strip()).exists()


def test_groups_of_others_are_left_alone(place):
    """Neither what lies beside ours nor what is in it is touched."""
    other = place.folder / f"other-{os.getpid()}"
    other.mkdir()
    with subprocess.Popen(["sleep", "600"]) as sleeper:
        try:
            (other / "cgroup.procs").write_text(str(sleeper.pid), encoding="ascii")
            ControlGroups(place).close()
            assert pids_in(other) == [sleeper.pid]
            assert sleeper.poll() is None
        finally:
            sleeper.kill()
            sleeper.wait()
            other.rmdir()


@contextmanager
def other_group(place: GroupPlace) -> Iterator[Path]:
    """A group that is not the machine's only one, which a configuration could name."""
    folder = place.folder / f"given-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        with suppress(OSError):
            (folder / "cgroup.kill").write_text("1", encoding="ascii")
        assert remove_soon(folder)


def remove_soon(folder: Path) -> bool:
    """Whether the group and those in it are gone, within some seconds."""
    until = monotonic_s() + 120
    while not remove_group(folder) and monotonic_s() < until:
        time.sleep(0.02)
    return not folder.exists()


def test_a_group_that_the_configuration_names_is_used(place):
    with other_group(place) as folder:
        with server_process("detach", str(folder)) as (server, said):
            assert Path(said["folder"].strip()).parent == folder
            server.communicate("end\n")
            assert server.returncode == 0
        assert names_in(folder) == set()


async def test_without_a_controller_its_limit_is_not_held_and_why_is_said(start_grouped, groups):
    started = await start_grouped("echo")
    held = {one.limit: one.by for one in started.child.limit(WorkerLimits(processes=3, cpu_percent=50))}
    expected = {"processes": "pids", "cpu_percent": "cpu"}
    assert held == {limit: "" if name in groups.unheld else "cgroup" for limit, name in expected.items()}
    assert all(name in str(groups) for name in groups.unheld)
    await end(started)


async def test_processes_without_end_stop_at_the_limit_and_end_with_the_worker(start_grouped, groups, caplog):
    place_with("pids")
    started = await start_grouped("bomb")
    folder = group_of(started, groups)
    (held,) = started.child.limit(WorkerLimits(processes=8))
    assert (held.by, held.value) == ("cgroup", 8)
    started.child.write(b"go")
    number = int(await started.line())
    assert number < 8 * 4 + 64 + 4 * (os.cpu_count() or 1)
    left = pids_in(folder)
    assert len(left) == number + 1
    await end(started)
    assert all(has_ended(pid) for pid in left)
    assert any("reached its number of processes: 1 more" in line for line in caplog.messages)


async def test_processes_are_held_though_nobody_said_a_limit(start_grouped, groups):
    place_with("pids")
    started = await start_grouped("echo")
    (held,) = started.child.limit(WorkerLimits())
    assert (held.limit, held.by, held.value) == ("processes", "cgroup", 64)
    assert int((group_of(started, groups) / "pids.max").read_text(encoding="ascii")) < 1000
    await end(started)


async def test_memory_is_counted_over_all_processes_and_ends_them_all(start_grouped, groups, caplog):
    """Eight processes with 32 MiB each: no limit of a single process would hold them."""
    place_with("memory")
    started = await start_grouped("swell")
    folder = group_of(started, groups)
    held = {one.limit: one.by for one in started.child.limit(WorkerLimits(memory_bytes=96 * MIB))}
    assert held["memory_bytes"] == "cgroup"
    started.child.write(b"go")
    assert await started.child.wait() == -9
    assert any("reached its memory limit" in line for line in caplog.messages)
    await until(lambda: not folder.exists() or not pids_in(folder))


async def test_time_of_the_processors_is_held(start_grouped, groups):
    place_with("cpu")
    started = await start_grouped("spin")
    folder = group_of(started, groups)
    held = {one.limit: one.by for one in started.child.limit(WorkerLimits(cpu_percent=10))}
    assert held["cpu_percent"] == "cgroup"
    started.child.write(b"go")
    await started.line()
    await until(lambda: throttled(folder) > 0)
    await end(started)


def throttled(folder: Path) -> int:
    words = (folder / "cpu.stat").read_text(encoding="ascii").split()
    return int(words[words.index("nr_throttled") + 1])
