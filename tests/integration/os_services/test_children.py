"""What the engine relies on in a child process: one suite, run against the room that fits this platform."""

import asyncio
import inspect
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.rigs.processes import has_ended, open_handles

PROGRAMS = Path(__file__).parent / "programs"
MIB = 1 << 20


if sys.platform == "win32":
    LOOPS = [pytest.param(asyncio.run, id="proactor")]
else:
    import uvloop

    LOOPS = [pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")]


def on_each_loop(test):
    """The test runs on both event loops that the server may run on."""

    def run(loop, **fixtures):
        loop(test(**fixtures))

    parameters = inspect.signature(test).parameters.values()
    loop = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([loop, *parameters])
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return pytest.mark.parametrize("loop", LOOPS)(run)


@on_each_loop
async def test_what_is_written_comes_back_in_order_however_it_is_cut(start_child):
    started = await start_child("echo")
    sent = random.Random(1).randbytes(MIB)
    position = 0
    cuts = random.Random(2)
    while position < len(sent):
        length = cuts.choice([1, 7, 4096, 65_537, 200_000])
        started.child.write(sent[position : position + length])
        position += length
    await started.wait_until(lambda: len(started.received) >= len(sent))
    assert bytes(started.received) == sent
    started.child.kill()
    await started.child.wait()


@on_each_loop
async def test_output_and_exit_code_reach_the_parent(start_child):
    started = await start_child("talk")
    assert await started.child.wait() == 7
    printed = started.printed.decode("utf-8").replace("\r\n", "\n")
    assert printed == "on stdout: größer\non stderr\n"


@on_each_loop
async def test_the_end_of_a_child_closes_its_channel_once(start_child):
    started = await start_child("talk")
    await started.child.wait()
    await started.wait_until(lambda: started.times_closed > 0)
    started.child.kill()
    started.child.write(b"into the void")
    await asyncio.wait([asyncio.ensure_future(started.child.wait())])
    assert started.times_closed == 1


@on_each_loop
async def test_kill_ends_the_child_and_what_it_started(start_child):
    started = await start_child("breed")
    grandchild = int(await started.line())
    started.child.kill()
    started.child.kill()
    assert await started.child.wait() != 0
    assert has_ended(grandchild)


@on_each_loop
async def test_what_a_child_left_behind_ends_with_it(start_child):
    """The child ends by itself; its own child, which would live on, must not."""
    started = await start_child("breed")
    grandchild = int(await started.line())
    started.child.write(b"end")
    assert await started.child.wait() == 0
    assert has_ended(grandchild)


@pytest.mark.linux("Windows has jobs, which nothing leaves")
@pytest.mark.parametrize("is_killed", [True, False])
@on_each_loop
async def test_what_has_left_session_and_parent_ends_with_the_child_without_control_groups(start_child, is_killed):
    started = await start_child("detach")
    grandchild = int(await started.line())
    assert psutil.Process(grandchild).ppid() != started.child.pid
    if is_killed:
        started.child.kill()
    else:
        started.child.write(b"end")
    await started.child.wait()
    assert has_ended(grandchild)


@on_each_loop
async def test_the_child_is_started_as_asked(start_child, tmp_path):
    """Folder and arguments with spaces and umlauts, the environment, and the interpreter's own pid."""
    folder = tmp_path / "ein Ordner für Prüfungen"
    folder.mkdir()
    started = await start_child("facts", "with space", 'quo"te', "größer", folder=folder, TORCHGATE_TEST="yes é")
    pid, cwd, variable, *arguments, prefix = (await started.line()).split("|")
    assert int(pid) == started.child.pid
    assert cwd == str(folder.resolve())
    assert variable == "yes é"
    assert arguments == ["with space", 'quo"te', "größer"]
    assert prefix == sys.prefix
    started.child.kill()
    await started.child.wait()


@on_each_loop
async def test_programs_in_a_folder_with_spaces_start(start_child, tmp_path):
    programs = tmp_path / "meine Programme ü"
    shutil.copytree(PROGRAMS, programs)
    started = await start_child("echo", programs=programs)
    started.child.write(b"here")
    await started.wait_until(lambda: started.received == b"here")
    started.child.kill()
    await started.child.wait()


@on_each_loop
async def test_sections_are_seen_by_both_sides(start_child, make_section):
    sections = [make_section(4096), make_section(65_536)]
    started = await start_child("increment")
    requests = []
    for number, section in enumerate(sections, 1):
        section.view[:] = bytes([number]) * len(section.view)
        requests.append(f"{started.child.hand_over(section)} {len(section.view)}")
    started.child.write((",".join(requests) + "\n").encode())
    await started.wait_until(lambda: started.received == b"done")
    assert bytes(sections[0].view) == bytes([2]) * 4096
    assert bytes(sections[1].view) == bytes([3]) * 65_536
    started.child.kill()
    await started.child.wait()
    assert sections[1].view[0] == 3  # outlives the child
    for section in sections:
        section.close()


def descriptor_targets(pid: int) -> list[str]:
    return [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]


@pytest.mark.linux("reads /proc")
@on_each_loop
async def test_a_child_that_has_mapped_a_section_has_no_descriptor_of_it(start_child, make_section):
    """What a model writes into a wrong descriptor must not change the inputs of requests."""
    section = make_section(100)
    started = await start_child("increment")
    started.child.write(f"{started.child.hand_over(section)} 100\n".encode())
    await started.wait_until(lambda: bytes(started.received) == b"done")
    assert not any("memfd" in target for target in descriptor_targets(started.child.pid))
    started.child.write(b"end")
    assert await started.child.wait() == 0
    assert bytes(section.view) == b"\1" * 100
    section.close()


@on_each_loop
async def test_a_section_of_another_kind_is_not_handed_over(start_child):
    started = await start_child("echo")
    with pytest.raises(TypeError, match="only sections of"):
        started.child.hand_over(object())
    started.child.kill()
    await started.child.wait()


@on_each_loop
async def test_a_child_in_a_missing_folder_is_an_os_error(start_child, tmp_path):
    with pytest.raises(OSError, match=r"missing|irectory|267"):
        await start_child("echo", folder=tmp_path / "missing")


@pytest.mark.parametrize("grandchildren_too", [False, True])
def test_children_die_with_a_parent_that_is_killed(grandchildren_too):
    """The server is ended by TerminateProcess or SIGKILL: no worker may survive and hold memory or a device."""
    environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    parent = subprocess.Popen(
        [sys.executable, str(PROGRAMS / "doomed_parent.py")], stdout=subprocess.PIPE, env=environment, text=True
    )
    try:
        said = dict(parent.stdout.readline().split() for _ in range(2))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert has_ended(int(said["started"]))
    if grandchildren_too and sys.platform == "win32":
        assert has_ended(int(said["child"]))


@on_each_loop
async def test_starts_leave_no_descriptor_or_handle(start_child, make_section):
    async def one() -> None:
        section = make_section(4096)
        started = await start_child("echo")
        started.child.hand_over(section)
        started.child.write(b"x")
        await started.wait_until(lambda: started.received == b"x")
        started.child.kill()
        await started.child.wait()
        await started.wait_until(lambda: started.times_closed == 1)
        section.close()

    for _ in range(3):
        await one()
    await asyncio.sleep(0)
    before = open_handles()
    starts = 10 if sys.platform == "win32" else 50
    for _ in range(starts):
        await one()
    async with asyncio.timeout(120):
        while open_handles() - before >= starts // 2:  # noqa: ASYNC110 - the last are closed by threads of the system
            await asyncio.sleep(0.02)
