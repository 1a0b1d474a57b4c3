"""The table `[tuned.VERSION]` of a model.toml: written into a text that otherwise stays as its author wrote it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from datetime import date

from torchgate.contract.tuning import Candidate, TuneDone

_HEADER = re.compile(r"[ \t]*\[\[?[^\[\]]+\]\]?[ \t]*(#.*)?\r?\n?$")
_NOTE = "# Written by `torchgate models tune`; another version, torch or machine runs the model as it is."


_MARK = "\ufeff"
"""Some editors on Windows begin a file with it."""


class CannotWrite(Exception):
    """The text is such that a table can't be put into it without changing something else; the text says so."""


def with_tuned(text: str, version: str, table: str) -> str:
    """The text with this version's table, in place of the one that was there, or at its end.

    Args:
        text: of a model.toml that is TOML.
        table: as tuned_table makes it.

    Raises:
        CannotWrite: see there.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    first, after = _place(lines, version)
    before, behind = "".join(lines[:first]).rstrip(), "".join(lines[after:])
    block = newline.join(table.splitlines())
    gap = newline if behind.strip() else ""
    new = "".join((before, newline, newline, block, newline, gap, behind.lstrip("\r\n")))
    if not _is_same_but(text, new, version, table):
        raise CannotWrite("its [tuned] table is not written as a table of its own; put this into it by hand")
    return new


def tuned_table(version: str, done: TuneDone, measured_on: date) -> str:
    """The table as text."""
    chosen = next(one for one in done.candidates if one.choice == done.tuned.choice)
    tuned = done.tuned
    values = {
        "choice": tuned.choice,
        "torch": tuned.torch,
        "machine": tuned.machine,
        "made_of": tuned.made_of,
        **({"package_sha256": tuned.package_sha256} if tuned.package_sha256 else {}),
        "threads": done.threads,
        "rows": list(done.rows),
    }
    lines = [_NOTE, f"[tuned.{version}]"]
    # JSON's texts and numbers are TOML's, too.
    lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    lines += [
        f"median_ms = {{ {', '.join(_medians(done.candidates))} }}",
        f"tolerance = {{ {', '.join(f'{name} = {value!r}' for name, value in done.tolerances.items())} }}",
        f"difference = {chosen.difference!r}",
        f"measured_on = {measured_on.isoformat()}",
    ]
    return "\n".join(lines) + "\n"


def _medians(candidates: Sequence[Candidate]) -> list[str]:
    return [f"{one.choice} = {list(one.median_ms)}" for one in candidates if one.median_ms]


def _place(lines: Sequence[str], version: str) -> tuple[int, int]:
    """First line of this version's table, its note included, and the line after it."""
    wanted = re.compile(rf"[ \t]*\[[ \t]*tuned[ \t]*\.[ \t]*([\"']?){re.escape(version)}\1[ \t]*\]")
    first = next((index for index, line in enumerate(lines) if wanted.match(line)), None)
    if first is None:
        return len(lines), len(lines)
    after = next((index for index in range(first + 1, len(lines)) if _HEADER.match(lines[index])), len(lines))
    # Comments and empty lines before the next table are the next table's.
    while after > first + 1 and (not lines[after - 1].strip() or lines[after - 1].lstrip().startswith("#")):
        after -= 1
    if first and lines[first - 1].strip() == _NOTE:
        first -= 1
    return first, after


def _is_same_but(before: str, after: str, version: str, table: str) -> bool:
    """Whether nothing but this version's table changed, and that is what it should be."""
    try:
        old, new, wanted = (
            tomllib.loads(before.removeprefix(_MARK)),
            tomllib.loads(after.removeprefix(_MARK)),
            tomllib.loads(table),
        )
    except tomllib.TOMLDecodeError:
        return False
    written = new.get("tuned", {}).pop(version, None)
    old.get("tuned", {}).pop(version, None)
    for values in (old, new):
        if not values.get("tuned"):
            values.pop("tuned", None)
    return bool(old == new) and bool(written == wanted["tuned"][version])
