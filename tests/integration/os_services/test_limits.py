"""Limits of a running child, read back from the operating system; on Windows all but what Wine can't hold."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from torchgate.contract.worker_limits import Enforcement, WorkerLimits

MIB = 1 << 20
ALL = WorkerLimits(memory_bytes=512 * MIB, processes=7, processors=(0,), cpu_percent=50)


async def limited(start_child, limits):
    """A child that is up, and what was said of its limits."""
    started = await start_child("echo")
    started.child.write(b"x")
    await started.wait_until(lambda: started.received == b"x")
    return started.child, {one.limit: one for one in started.child.limit(limits)}


def descriptors(pid: int) -> dict[int, str]:
    return {int(one.name): str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()}


async def end(child) -> None:
    child.kill()
    await child.wait()


async def test_without_limits_nothing_is_said(start_child):
    child, held = await limited(start_child, WorkerLimits())
    assert [(one.limit, one.by) for one in held.values()] == ([("processes", "job")] if sys.platform == "win32" else [])
    await end(child)


async def test_each_limit_is_held_or_said_not_to_be(start_child):
    child, held = await limited(start_child, ALL)
    assert set(held) == {"memory_bytes", "processes", "processors", "cpu_percent"}
    assert all(one.by or one.note for one in held.values())
    assert held["memory_bytes"].by == ("job" if sys.platform == "win32" else "rlimit")
    assert held["processes"].by == ("job" if sys.platform == "win32" else "")
    await end(child)


async def test_limits_may_be_set_again_and_tightened(start_child):
    child, _ = await limited(start_child, ALL)
    child.limit(WorkerLimits(memory_bytes=256 * MIB))
    await end(child)


async def test_a_child_that_is_gone_can_t_be_limited(start_child):
    child, _ = await limited(start_child, WorkerLimits())
    await end(child)
    with pytest.raises(OSError, match="gone"):
        child.limit(ALL)


@pytest.mark.linux("Wine accepts any affinity of a job")
async def test_processors_that_the_machine_lacks_are_an_os_error(start_child):
    started = await start_child("echo")
    with pytest.raises(OSError):  # noqa: PT011 - the kernel's own words
        started.child.limit(WorkerLimits(processors=(1023,)))
    await end(started.child)


@pytest.mark.linux("reads /proc")
async def test_the_kernel_knows_the_limits_for_each_thread(start_child):
    import resource

    child, _ = await limited(start_child, ALL)
    assert resource.prlimit(child.pid, resource.RLIMIT_DATA) == (512 * MIB, 512 * MIB)
    assert resource.prlimit(child.pid, resource.RLIMIT_CORE) == (0, 0)
    assert {tuple(os.sched_getaffinity(one.id)) for one in psutil.Process(child.pid).threads()} == {(0,)}
    await end(child)


@pytest.mark.linux("reads /proc")
async def test_a_child_has_its_own_group_and_session_nothing_on_stdin_and_no_descriptor_of_the_parent(
    start_child, tmp_path
):
    """A model looks for sockets and files of the server among its descriptors: it finds pipes and its own channel."""
    secret = os.open(tmp_path / "secret", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(secret, True)
    try:
        child, _ = await limited(start_child, WorkerLimits())
    finally:
        os.close(secret)
    assert os.getpgid(child.pid) == os.getsid(child.pid) == child.pid
    targets = descriptors(child.pid)
    assert targets[0] == "/dev/null"
    assert not any("secret" in target for target in targets.values())
    assert sum(target.startswith("socket:") for number, target in targets.items() if number > 2) == 2
    assert len(targets) == 5
    await end(child)


def test_an_enforcement_says_by_what_and_what_to_know():
    assert str(Enforcement("memory_bytes", "job")) == "memory_bytes by job"
    assert str(Enforcement("processes", "", "why")) == "processes NOT ENFORCED (why)"
