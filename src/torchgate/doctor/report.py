"""The findings for people, and for programs."""

from __future__ import annotations

import socket
import textwrap
from collections.abc import Iterator, Sequence

import msgspec

from torchgate.config import without_secrets
from torchgate.doctor.examine import Line
from torchgate.doctor.world import World

_WIDTH = 110
_INDENT = 10
_SHOWN = {"ok": "ok", "amber": "AMBER", "red": "RED", "skipped": "skipped"}


class Entry(msgspec.Struct, frozen=True):
    """One finding of `doctor --json`.

    Args:
        area: heading, e.g. `torch`.
        check: which of them, e.g. `driver`.
        verdict: `ok`, `amber`, `red` or `skipped`.
        seen: what is there; for `skipped`, why nobody can tell.
        wanted: what should be there; empty where nothing is amiss, or `seen` says it.
        remedy: what to do next; empty where nothing is amiss.
        place: file, line or setting that it is about; or empty.
    """

    area: str
    check: str
    verdict: str
    seen: str
    wanted: str
    remedy: str
    place: str


class Report(msgspec.Struct, frozen=True):
    """The object that `doctor --json` prints.

    Args:
        version: of Torchgate.
        host: name of the machine.
        account: as whom it was run.
        python: version of the interpreter.
        project: path of the settings file.
        passed: nothing is red.
        counts: verdict → how many.
        findings: in the order of the checks.
    """

    version: str
    host: str
    account: str
    python: str
    project: str
    passed: bool
    counts: dict[str, int]
    findings: tuple[Entry, ...]


def report_of(lines: Sequence[Line], world: World) -> Report:
    """All of it, with whatever looks like a secret taken out."""
    entries = tuple(
        Entry(
            line.area,
            line.check,
            line.diagnosis.verdict,
            *(without_secrets(getattr(line.diagnosis, part)) for part in ("seen", "wanted", "remedy", "place")),
        )
        for line in lines
    )
    counts = {verdict: sum(entry.verdict == verdict for entry in entries) for verdict in _SHOWN}
    return Report(
        world.version,
        socket.gethostname(),
        _account(world),
        world.interpreter.version,
        str(world.configuration.file),
        passed=not counts["red"],
        counts=counts,
        findings=entries,
    )


def json_text(report: Report) -> str:
    """For programs."""
    return msgspec.json.format(msgspec.json.encode(report)).decode()


def human_lines(report: Report, *, is_whole: bool = False) -> Iterator[str]:
    """For people: what is amiss at length, the rest in a line each, and the verdict last.

    Args:
        is_whole: what was skipped, too.
    """
    yield f"torchgate {report.version} on {report.host} as {report.account}, Python {report.python}"
    yield f"project {report.project}"
    area = ""
    width = max((len(entry.check) for entry in report.findings), default=0) + 2
    for entry in report.findings:
        if entry.verdict == "skipped" and not is_whole:
            continue
        if entry.area != area:
            area = entry.area
            yield ""
            yield area
        yield from _entry_lines(entry, width)
    yield ""
    yield verdict_line(report)


def verdict_line(report: Report) -> str:
    """Whether the installation is fit to serve."""
    counts = ", ".join(f"{report.counts[verdict]} {verdict}" for verdict in ("red", "amber", "ok", "skipped"))
    if not report.passed:
        return f"NOT ready: {counts}. Correct what is red first."
    return f"Ready{', and a person should look at what is amber' if report.counts['amber'] else ''}: {counts}."


def _entry_lines(entry: Entry, width: int) -> Iterator[str]:
    margin = " " * (_INDENT + width)
    lines = _wrapped(f"{entry.seen}{f'  [{entry.place}]' if entry.place else ''}", len(margin))
    yield f"  {_SHOWN[entry.verdict]:{_INDENT - 2}}{entry.check:{width}}{lines[0]}"
    for line in lines[1:]:
        yield margin + line
    for label, text in (("wanted", entry.wanted), ("do", entry.remedy)):
        for number, line in enumerate(_wrapped(text, len(margin) + 8) if text else ()):
            yield f"{margin}{label if number == 0 else '':8}{line}"


def _wrapped(text: str, margin: int) -> list[str]:
    return textwrap.wrap(text, _WIDTH - margin, break_long_words=False, break_on_hyphens=False) or [""]


def _account(world: World) -> str:
    try:
        return world.machine.account()
    except OSError as error:
        return f"unknown ({error.strerror or type(error).__name__})"
