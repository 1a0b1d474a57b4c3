"""What a new instance finds in the folder: dead instances to tidy up, and earlier chains to name."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from torchgate.telemetry.instance_lock import InstanceLock
from torchgate.telemetry.merkle_tree import leaf_hash
from torchgate.telemetry.segment import chains_in, cut_torn, last_lines, segments_of

_CHAINS_NAMED = 8  # recent chains that a new one names: enough for a farm of gates that restart together


class Metadata(msgspec.Struct):
    """The part of an event's metadata that the chain needs."""

    sequence: int


class Unmapped(msgspec.Struct):
    """The part of an event's unmapped facts that the chain needs."""

    prev: str
    previous: tuple[PreviousChain, ...] = ()


class ChainLine(msgspec.Struct):
    """Of any line: what links it to the others."""

    metadata: Metadata
    unmapped: Unmapped


class PreviousChain(msgspec.Struct, frozen=True):
    """How far another chain had come when this one was opened.

    Args:
        chain: its id.
        sequence: of its last complete line.
        hash: of that line, in hexadecimal: it stands for all lines before, too.
        checkpoint: size and root of its last checkpoint, e.g. `1234 7XkG…=`, or empty where it had none yet.
    """

    chain: str
    sequence: int
    hash: str
    checkpoint: str = ""


class TornLine(msgspec.Struct, frozen=True):
    """An unfinished line that a dead instance left, now moved aside.

    Args:
        segment: file name.
        length: in bytes.
    """

    segment: str
    length: int


def tidy_up(folder: Path) -> list[TornLine]:
    """Cut the torn lines of instances that died; those that run are left alone."""
    torn = []
    for live in sorted(folder.glob("audit-*.live")):
        chain = live.name.removeprefix("audit-").removesuffix(".live")
        try:
            lock = InstanceLock(live, create=False)
        except OSError:
            continue  # it runs
        try:
            segments = segments_of(folder, chain)
            last = segments[max(segments)] if segments else None
            if last is not None and (length := cut_torn(last)):
                torn.append(TornLine(last.name, length))
        finally:
            lock.release()
    return torn


def previous_chains(folder: Path) -> tuple[PreviousChain, ...]:
    """The most recent other chains and how far each has come, newest first."""
    found = (_previous_chain(folder, chain) for chain in reversed(chains_in(folder)[-_CHAINS_NAMED:]))
    return tuple(previous for previous in found if previous is not None)


def _previous_chain(folder: Path, chain: str) -> PreviousChain | None:
    for path in reversed(list(segments_of(folder, chain).values())):
        lines = last_lines(path)
        if not lines:
            continue  # just rotated
        try:
            link = msgspec.json.decode(lines[-1], type=ChainLine)
        except msgspec.MsgspecError:
            return None  # damaged; verify says so
        checkpoint = ""
        with contextlib.suppress(OSError, ValueError):
            head = (folder / f"audit-{chain}.head").read_text(encoding="utf-8")
            checkpoint = " ".join(head.split("\n")[1:3])
        return PreviousChain(chain, link.metadata.sequence, leaf_hash(lines[-1]).hex(), checkpoint)
    return None
