"""At which line each value of a TOML text stands; the standard library's reader keeps none of that."""

from __future__ import annotations

import bisect
import re
import tomllib
from collections.abc import Mapping, Sequence

Place = tuple[str | int, ...]
"""Where a value stands in the file: keys, and indices of arrays."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(r'"""(?:[^\\]|\\.)*?"""+|\'\'\'.*?\'\'\'+|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL)
_SCALAR = re.compile(r"[^,\]}\n#]*")


def line_numbers(text: str) -> dict[Place, int]:
    """The line of every key, table header and array element.

    Args:
        text: what tomllib has accepted; of anything else the answer says little.
    """
    scan = _Scan(text)
    scan.run()
    return scan.lines


def line_of(place: Sequence[str | int], lines: Mapping[Place, int]) -> int:
    """The line of a value, or of the nearest table around it; 0 if nothing of it is in the file."""
    parts = tuple(place)
    while parts:
        if parts in lines:
            return lines[parts]
        parts = parts[:-1]
    return 0


class _Scan:
    """One walk through a text, remembering where it is."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._at = 0
        self._elements: dict[Place, int] = {}
        self.lines: dict[Place, int] = {}

    def run(self) -> None:
        table: Place = ()
        while self._skip(_BLANK) < len(self._text):
            start = self._at
            if self._text[start] == "[":
                table = self._header()
            else:
                self._pair(table)
            if self._at == start:
                return  # not TOML: better no line than no end

    def _header(self) -> Place:
        line = self._line()
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        place: Place = ()
        parts = self._key()
        for index, part in enumerate(parts, 1):
            place += (part,)
            if index == len(parts) and brackets == 2:
                self._elements[place] = self._elements.get(place, -1) + 1
            self.lines.setdefault(place, line)
            if place in self._elements:
                place += (self._elements[place],)
                self.lines.setdefault(place, line)
        self._skip(_SPACE)
        self._at += brackets
        return place

    def _pair(self, table: Place) -> None:
        line = self._line()
        place = table
        for part in self._key():
            place += (part,)
            self.lines.setdefault(place, line)
        self._skip(_SPACE)
        self._at += 1  # the equals sign
        self._value(place)

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            if found := _BARE_KEY.match(self._text, self._at):
                parts.append(found[0])
            elif found := _STRING.match(self._text, self._at):
                parts.append(tomllib.loads(f"key = {found[0]}")["key"])
            else:
                return parts
            self._at = found.end()
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _value(self, place: Place) -> None:
        self._skip(_SPACE)
        if self._text.startswith("[", self._at):
            self._array(place)
        elif self._text.startswith("{", self._at):
            self._inline_table(place)
        elif not self._accept(_STRING):
            self._accept(_SCALAR)

    def _array(self, place: Place) -> None:
        self._at += 1
        index = 0
        while self._skip(_BLANK) < len(self._text) and self._text[self._at] != "]":
            self.lines.setdefault((*place, index), self._line())
            self._value((*place, index))
            self._pass_comma()
            index += 1
        self._at += 1

    def _inline_table(self, place: Place) -> None:
        self._at += 1
        while self._skip(_BLANK) < len(self._text) and self._text[self._at] != "}":
            self._pair(place)
            self._pass_comma()
        self._at += 1

    def _pass_comma(self) -> None:
        self._skip(_BLANK)
        self._at += self._text.startswith(",", self._at)

    def _accept(self, pattern: re.Pattern[str]) -> bool:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found is not None

    def _skip(self, pattern: re.Pattern[str]) -> int:
        self._accept(pattern)
        return self._at

    def _line(self) -> int:
        return bisect.bisect_left(self._newlines, self._at) + 1
