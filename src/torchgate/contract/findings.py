"""What an examination found, and the remedy."""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["error", "warning", "info"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that `check` or `doctor` has to say.

    Args:
        severity: error = refuses to start or serve; warning = works, and a person should look; info = good to know.
        sentence: what is wrong, seen against allowed, with the nearest right name where there is one.
        file: path of the file at fault, or empty.
        line: 1-based line there, or 0 where it has none (a missing key: the line of its table).
        setting: dotted name of the setting, e.g. `gate.bind`, or empty.
        remedy: what to do next; empty where the sentence says it.
    """

    severity: Severity
    sentence: str
    file: str = ""
    line: int = 0
    setting: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        setting = f"{self.setting}: " if self.setting else ""
        return f"{place}{self.severity}: {setting}{self.sentence}{' ' + self.remedy if self.remedy else ''}"
