"""What an attacker with write access to the folder does to a trail is found, and a whole trail is whole."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from torchgate.contract.audit_event import RequestEvent
from torchgate.telemetry.audit_trail import AuditTrail
from torchgate.telemetry.audit_verify import TrailReport, verify
from torchgate.telemetry.checkpoint import Signer
from torchgate.telemetry.settings import AuditSettings

Files = Mapping[str, bytes]
T = TypeVar("T")


@pytest.fixture(scope="module")
def key() -> Signer:
    return Signer("torchgate-audit/test", Ed25519PrivateKey.generate())


@pytest.fixture(scope="module")
def whole(key: Signer, make_event_once: RequestEvent) -> Files:
    """Two chains, written and closed by the real thing: several segments, several checkpoints."""

    async def write(folder: Path) -> None:
        trail_settings = AuditSettings(segment_bytes=4096, checkpoint_events=2, sync_interval_s=0.01)
        for _ in range(2):
            trail = AuditTrail(folder, trail_settings, signer=key, version="9.9")
            await trail.start()
            for _ in range(11):
                await trail.write(make_event_once)
                await asyncio.to_thread(lambda: None)
            await trail.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(write(Path(folder)))
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    assert sum(name.endswith(".jsonl") for name in files) >= 4
    return files


def _verify(files: Files, key: Signer, external: bytes | None = None) -> TrailReport:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        if external is None:
            return verify(folder, [key.public_key])
        with tempfile.TemporaryDirectory() as elsewhere:
            kept = Path(elsewhere) / "kept.head"
            kept.write_bytes(external)
            return verify(folder, [key.public_key], checkpoints=[kept])


def _names(files: Files, suffix: str) -> list[str]:
    return sorted((name for name in files if name.endswith(suffix)), key=lambda name: (name.split("-")[3], name))


def _one_of(choices: Sequence[T], data: st.DataObject) -> T:
    """Drawn so that the drawing does not depend on the trail, which is another one in each run."""
    return choices[data.draw(st.integers(0, 1 << 30)) % len(choices)]


def test_untouched_trail_is_whole(whole: Files, key: Signer) -> None:
    report = _verify(whole, key)
    assert report.problems == ()
    assert report.remarks == ()
    assert report.events == 24
    assert report.unsigned == 0
    assert [chain.is_closed for chain in report.chains] == [True, True]


@given(data=st.data())
@settings(deadline=None, max_examples=120)
def test_any_changed_byte_is_found(whole: Files, key: Signer, data: st.DataObject) -> None:
    """An attacker changes one byte of any file of a closed trail."""
    name = _one_of([name for name in sorted(whole) if whole[name] and not name.endswith(".pub")], data)
    content = whole[name]
    place = _one_of(range(len(content)), data)
    changed = content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]
    assert not _verify({**whole, name: changed}, key).is_whole


@given(data=st.data())
@settings(deadline=None, max_examples=80)
def test_any_truncation_is_found(whole: Files, key: Signer, data: st.DataObject) -> None:
    """An attacker cuts any file of a closed trail at any byte."""
    name = _one_of([name for name in sorted(whole) if whole[name] and not name.endswith(".pub")], data)
    length = _one_of(range(len(whole[name])), data)
    assert not _verify({**whole, name: whole[name][:length]}, key).is_whole


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_any_removed_doubled_or_moved_line_is_found(whole: Files, key: Signer, data: st.DataObject) -> None:
    """An attacker takes a line out, writes one twice, or puts one elsewhere."""
    name = _one_of(_names(whole, ".jsonl"), data)
    lines = whole[name].splitlines(keepends=True)
    if not lines:
        return
    place = _one_of(range(len(lines)), data)
    act = data.draw(st.sampled_from(["remove", "double", "move"]))
    line = lines.pop(place)
    if act == "double":
        lines[place:place] = [line, line]
    elif act == "move":
        other = _one_of(_names(whole, ".jsonl"), data)
        if other != name:
            assert not _verify({**whole, name: b"".join(lines), other: whole[other] + line}, key).is_whole
            return
        lines.insert((place + 1) % (len(lines) + 1), line)
        if b"".join(lines) == whole[name]:
            return
    assert not _verify({**whole, name: b"".join(lines)}, key).is_whole


def test_a_line_that_is_gone_is_told_once_and_not_with_every_line_after_it(whole: Files, key: Signer) -> None:
    """Whoever looks for the place finds it; each file of checkpoints contradicts once."""
    name = _names(whole, ".jsonl")[0]
    lines = whole[name].splitlines(keepends=True)
    problems = _verify({**whole, name: b"".join(lines[:1] + lines[2:])}, key).problems
    said = [problem.sentence for problem in problems]
    assert [sentence for sentence in said if "was expected" in sentence] == ["its sequence is 3, and 2 was expected"]
    places = [sentence.split(" that ")[1].split(":")[0] for sentence in said if "lines up to here" in sentence]
    assert len(set(places)) == len(places)


def test_any_removed_file_is_found(whole: Files, key: Signer) -> None:
    """An attacker deletes one file; the public key is given to verify from elsewhere."""
    for gone in whole:
        if not gone.endswith(".pub"):
            rest = {name: content for name, content in whole.items() if name != gone}
            assert not _verify(rest, key).is_whole, gone


def test_removed_chain_is_found_by_the_one_that_names_it(whole: Files, key: Signer) -> None:
    """An attacker deletes every file of the older chain."""
    older = _names(whole, ".head")[0].removesuffix(".head")
    rest = {name: content for name, content in whole.items() if not name.startswith(older)}
    problems = _verify(rest, key).problems
    assert any("of which no file is left" in problem.sentence for problem in problems)


def _without_end_of_newer_chain(files: Files) -> dict[str, bytes]:
    """As an attacker leaves it who takes away all after the newer chain's first checkpoint, tidily."""
    base = _names(files, ".head")[1].removesuffix(".head")
    first = files[f"{base}.checkpoints"].split(b"\n\n")
    note = b"\n\n".join(first[:2]) + b"\n"
    rest = {name: content for name, content in files.items() if not name.startswith(base)}
    line = files[f"{base}-00001.jsonl"].splitlines(keepends=True)[0]
    return rest | {f"{base}.checkpoints": note + b"\n", f"{base}.head": note, f"{base}-00001.jsonl": line}


def test_tidy_truncation_is_found_with_a_checkpoint_kept_elsewhere(whole: Files, key: Signer) -> None:
    """The documented limit: without a checkpoint known elsewhere it can't be found; with one it is."""
    cut = _without_end_of_newer_chain(whole)
    assert _verify(cut, key).is_whole
    kept = whole[_names(whole, ".head")[1]]
    problems = _verify(cut, key, external=kept).problems
    assert any("events are missing" in problem.sentence for problem in problems)
    assert _verify(whole, key, external=kept).is_whole


def test_trail_rewritten_with_another_key_is_found(whole: Files, make_event_once: RequestEvent, key: Signer) -> None:
    """An attacker writes a trail of its own, valid under its own key, into the folder."""
    forger = Signer("torchgate-audit/test", Ed25519PrivateKey.generate())

    async def write(folder: Path) -> None:
        trail = AuditTrail(folder, AuditSettings(), signer=forger, version="9.9")
        await trail.start()
        await trail.write(make_event_once)
        await trail.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(write(Path(folder)))
        assert verify(Path(folder)).keys_are_from_folder  # and so proves little, which the report says
        assert not verify(Path(folder), [key.public_key]).is_whole


def test_nothing_is_proven_without_a_key(whole: Files) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in whole.items():
            if not file.endswith(".pub"):
                (folder / file).write_bytes(content)
        assert any("no public key" in problem.sentence for problem in verify(folder).problems)
