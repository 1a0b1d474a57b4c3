"""Processes that write a trail are killed without notice: what they had acknowledged is there, and verify passes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.telemetry.events import make_event

from torchgate.telemetry.audit_trail import AuditTrail
from torchgate.telemetry.audit_verify import verify
from torchgate.telemetry.checkpoint import Signer
from torchgate.telemetry.segment import chains_in, segments_of
from torchgate.telemetry.settings import AuditSettings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(b"\x09" * 32)
    return path


@pytest.fixture
def signer() -> Signer:
    return Signer("torchgate-audit/test", Ed25519PrivateKey.from_private_bytes(b"\x09" * 32))


def _start(folder: Path, key_file: Path, producers: int, limit_bytes: int = 0) -> subprocess.Popen[bytes]:
    module = "tests.integration.telemetry.writer_process"
    arguments = [str(folder), str(key_file), str(producers), *([str(limit_bytes)] if limit_bytes else [])]
    return subprocess.Popen(
        [sys.executable, "-X", "utf8", "-m", module, *arguments],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def _acknowledged_until_killed(process: subprocess.Popen[bytes], count: int) -> list[str]:
    """Read `count` acknowledgements, kill, read the rest; a torn last line was no acknowledgement read by anybody."""
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdout, process.stdin:
        assert process.stdout.readline().strip() == b"ready"
        seen = [process.stdout.readline() for _ in range(count)]
        process.kill()  # SIGKILL; TerminateProcess on Windows
        seen += process.stdout.read().splitlines(keepends=True)
    process.wait(120)
    return [line.decode().strip() for line in seen if line.endswith(b"\n")]


def _request_ids(folder: Path, chain: str) -> list[str]:
    ids = []
    for path in segments_of(folder, chain).values():
        for line in path.read_bytes().split(b"\n")[:-1]:
            event = json.loads(line)
            if event["class_uid"] == 6003:
                ids.append(event["api"]["request"]["uid"])
    return ids


async def test_acknowledged_events_survive_kills(tmp_path: Path, key_file: Path, signer: Signer) -> None:
    """Four processes, one after the other, each killed at another moment; then one that is closed properly."""
    folder = tmp_path / "audit"
    for round_, count in enumerate((1, 40, 333, 1100)):
        process = await asyncio.to_thread(_start, folder, key_file, 16)
        acknowledged = await asyncio.to_thread(_acknowledged_until_killed, process, count)
        chain = chains_in(folder)[round_]
        written = _request_ids(folder, chain)
        assert set(acknowledged) <= set(written)
        assert len(written) == len(set(written))
        for producer in range(16):
            numbers = [int(uid.split("-")[1]) for uid in written if uid.startswith(f"{producer}-")]
            assert numbers == list(range(len(numbers)))
        assert verify(folder, [signer.public_key]).problems == ()
    trail = AuditTrail(folder, AuditSettings(), signer=signer, version="9.9")
    await trail.start()
    await trail.write(make_event())
    await trail.close()
    report = verify(folder, [signer.public_key])
    assert report.problems == ()
    assert report.remarks == ()  # unfinished lines are cut by those that came after
    assert [chain.is_closed for chain in report.chains] == [False] * 4 + [True]
    assert not list(folder.glob("*.live"))


async def test_two_killed_at_once_leave_a_whole_trail(tmp_path: Path, key_file: Path, signer: Signer) -> None:
    """Two processes write into one folder at the same time, and both are killed."""
    folder = tmp_path / "audit"
    processes = [_start(folder, key_file, 4) for _ in range(2)]
    acknowledged = await asyncio.gather(
        *(asyncio.to_thread(_acknowledged_until_killed, process, 200) for process in processes)
    )
    written = [_request_ids(folder, chain) for chain in chains_in(folder)]
    assert sorted(len(ids) for ids in written) >= sorted(len(ids) for ids in acknowledged)
    assert all(any(set(seen) <= set(ids) for ids in written) for seen in acknowledged)
    assert verify(folder, [signer.public_key]).problems == ()


@pytest.mark.linux("RLIMIT_FSIZE makes write() fail half-way, as a full disk does; Windows has no such limit")
async def test_full_disk_closes_the_trail_and_room_opens_it(tmp_path: Path, key_file: Path, signer: Signer) -> None:
    """A write that the system cuts short is undone; every event before it is there, and the next after it."""
    folder = tmp_path / "audit"
    process = _start(folder, key_file, 1, 100_000)
    output, _ = await asyncio.to_thread(process.communicate, b"\n", 240)
    ready, refused, closed = output.decode().splitlines()
    assert (ready, closed) == ("ready", "closed")
    _, count, _, available = refused.split()
    assert available == "False"
    report = verify(folder, [signer.public_key])
    assert report.problems == ()
    assert report.remarks == ()
    (chain,) = chains_in(folder)
    ids = _request_ids(folder, chain)
    assert ids == [*(str(number) for number in range(int(count))), "again"]
    assert int(count) > 20
