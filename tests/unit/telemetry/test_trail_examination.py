"""Whether a trail can be continued: one that is whole, one that somebody has changed, none."""

from __future__ import annotations

from pathlib import Path

from tests.unit.telemetry.events import make_event

from torchgate.composition import private_folders
from torchgate.telemetry.audit_trail import AuditTrail
from torchgate.telemetry.settings import AuditSettings
from torchgate.telemetry.signing_key import open_signer
from torchgate.telemetry.trail_examination import examine_trail


async def written(folder: Path) -> Path:
    """A trail of two events, closed."""
    trail = AuditTrail(
        folder / "audit", AuditSettings(), signer=open_signer(folder / "keys", private_folders()), version="1"
    )
    await trail.start()
    try:
        for _ in range(2):
            await trail.write(make_event())
    finally:
        await trail.close()
    return folder


async def test_a_whole_trail_is_ok(tmp_path: Path) -> None:
    folder = await written(tmp_path)
    key, trail = examine_trail(folder / "audit", folder / "keys")
    assert (key.verdict, trail.verdict) == ("ok", "ok")
    assert "the trail is whole" in trail.seen


async def test_a_changed_trail_is_red_with_the_place(tmp_path: Path) -> None:
    folder = await written(tmp_path)
    (segment,) = (folder / "audit").glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([*lines[:1], *lines[2:]]))
    _, trail = examine_trail(folder / "audit", folder / "keys")
    assert trail.verdict == "red"
    assert segment.name in trail.seen
    assert "evidence" in trail.remedy


def test_without_a_trail_there_is_nothing_to_continue(tmp_path: Path) -> None:
    assert [one.verdict for one in examine_trail(tmp_path / "audit", tmp_path / "keys")] == ["ok", "ok"]
    assert list(tmp_path.iterdir()) == []
