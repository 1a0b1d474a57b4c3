"""`torchgate audit`: the trail as a person or a program wants to see it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from torchgate.contract.counted import counted
from torchgate.telemetry.audit_tail import AuditTail, human
from torchgate.telemetry.audit_verify import TrailReport, read_keys, verify
from torchgate.telemetry.checkpoint import NoteError, PublicKey
from torchgate.terminal import fail, say

_FOLLOW_INTERVAL_S = 0.5  # between two looks for new events: soon enough for eyes


def tail(folder: Path, parsed: argparse.Namespace) -> int:
    """Print the newest events, and with `--follow` those to come."""
    if not folder.is_dir():
        return fail(f"there is no audit trail in {folder} yet. Start the server first: torchgate serve")
    events = AuditTail(folder)
    try:
        _print_events(events.last(parsed.count), is_json=parsed.json)
        while parsed.follow:
            time.sleep(_FOLLOW_INTERVAL_S)
            _print_events(events.follow(), is_json=parsed.json)
    except OSError as error:
        return fail(f"the audit trail in {folder} can't be read: {error.strerror or error}.")
    return 0


def verify_trail(folder: Path, parsed: argparse.Namespace) -> int:
    """Examine a trail; 0 only if it is whole."""
    if not folder.is_dir():
        return fail(
            f"there is no folder {folder}, and so no audit trail in it. Name the folder where one is by --folder."
        )
    try:
        keys: Sequence[PublicKey] | None = read_keys(parsed.keys) if parsed.keys is not None else None
        report = verify(folder, keys, checkpoints=parsed.checkpoint)
    except OSError as error:
        return fail(f"{error.filename or folder} can't be read: {error.strerror or error}. Nothing was examined.")
    except (NoteError, UnicodeDecodeError) as error:
        return fail(f"the trail can't be examined: {error}.")
    if parsed.json:
        say(msgspec.json.encode({"is_whole": report.is_whole, **msgspec.structs.asdict(report)}).decode())
    else:
        _print_report(folder, report)
    return 0 if report.is_whole else 1


def _print_events(lines: Iterable[bytes], *, is_json: bool) -> None:
    for line in lines:
        say(line.decode("utf-8", "replace") if is_json else human(line))


def _print_report(folder: Path, report: TrailReport) -> None:
    for problem in report.problems:
        say(f"PROBLEM  {problem}")
    for remark in report.remarks:
        say(f"remark   {remark}")
    verdict = "whole: nothing was changed, removed or cut off" if report.is_whole else "NOT WHOLE"
    say(
        f"{folder}: {verdict}. {counted(report.events, 'event')} in "
        f"{counted(len(report.chains), 'chain')}, "
        f"{report.unsigned} not yet covered by a signed checkpoint."
    )
    if report.keys_are_from_folder:
        say(
            "The public keys came from the trail's own folder: whoever can rewrite the trail could have replaced "
            "them. Keep a copy elsewhere and name it by --keys."
        )
