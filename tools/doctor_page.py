"""docs/reference/doctor.md: every check of `torchgate doctor`, and the shape of what it prints for programs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from torchgate.doctor.checks import CHECKS
from torchgate.doctor.report import Entry, Report


def doctor_page(note: str) -> str:
    """The whole text.

    Args:
        note: who writes the page.
    """
    parts = [
        "# What doctor examines",
        note,
        "`torchgate doctor` runs every check at once, as the account that runs the command.",
        "A check that fails, or does not end in its time, is a finding itself.",
        "The exit code is 1 where anything is red, else 0.",
        "",
        "| area | check | looks at | at most |",
        "|---|---|---|---|",
    ]
    parts += [f"| {one.area} | `{one.name}` | {one.looks_at} | {one.limit_s:g} s |" for one in CHECKS]
    parts += ["", "## `--json`", "", "One object; names may be added, never removed or given another meaning.", ""]
    parts += [*_fields("", Report), *_fields("findings[].", Entry)]
    return "\n".join(parts).rstrip() + "\n"


def _fields(prefix: str, shape: type) -> Iterator[str]:
    """Each field with what its class says of it."""
    text = inspect.cleandoc(shape.__doc__ or "")
    for name, meaning in re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, re.MULTILINE):
        yield f"- `{prefix}{name}`: {' '.join(meaning.split())}"
