"""Settings files: TOML read into a frozen type, with every mistake at once, each with its line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import orjson
import pydantic

from torchgate.contract.findings import Finding


class Settings(pydantic.BaseModel):
    """What every room's settings type is: frozen, and unknown keys are mistakes."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


SettingsType = TypeVar("SettingsType", bound=Settings)
Place = tuple[str | int, ...]
"""Where a value stands in the file: keys, and indices of arrays of tables."""

_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_TABLE = re.compile(r"\s*(\[{1,2})\s*([^\[\]]+?)\s*\]{1,2}\s*(?:#.*)?$")


def read_settings(path: Path, shape: type[SettingsType]) -> tuple[SettingsType | None, list[Finding]]:
    """The settings in a TOML file, or None and all that is wrong with it.

    Args:
        path: of the file; named in each finding as given.
        shape: the type that it must fit.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        return None, [Finding("error", f"can't be read: {error}.", file=str(path))]
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        return None, [Finding("error", f"is not TOML: {error}.", file=str(path), line=int(found[1]) if found else 0)]
    return examine_settings(values, shape, str(path), line_numbers(text))


def examine_settings(
    values: Mapping[str, Any], shape: type[SettingsType], file: str, lines: Mapping[Place, int]
) -> tuple[SettingsType | None, list[Finding]]:
    """Fit values into a settings type; the findings say what does not fit and where it stands."""
    try:
        # As JSON: strict types, and yet lists for tuples and text for paths, as TOML has them.
        return shape.model_validate_json(orjson.dumps(values)), []
    except pydantic.ValidationError as error:
        return None, [_finding(dict(mistake), shape, file, lines) for mistake in error.errors(include_url=False)]


def line_numbers(text: str) -> dict[Place, int]:
    """The line of every key and table header of a TOML text (our own scan: tomllib keeps none)."""
    lines: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    depth, fence = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if fence or depth:
            depth, fence = _open_brackets(line, depth, fence)
            continue
        if header := _TABLE.match(line):
            table = _header_place(header, counts, lines)
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault(table + _parts(key[1]), number)
            depth, fence = _open_brackets(line[key.end() :], 0, "")
    return lines


def line_of(place: Sequence[str | int], lines: Mapping[Place, int]) -> int:
    """The line of a value, or of the nearest table around it; 0 if nothing of it is in the file."""
    parts = tuple(place)
    while parts:
        if parts in lines:
            return lines[parts]
        parts = parts[:-1]
    return 0


def nearest(name: str, known: Sequence[str]) -> str:
    """A sentence with the nearest known name, or all of them, ready to be put after a mistake."""
    close = difflib.get_close_matches(name, known, 1, 0.6)
    return f"Did you mean {close[0]!r}?" if close else f"Allowed: {', '.join(sorted(known))}."


def _header_place(header: re.Match[str], counts: dict[Place, int], lines: Mapping[Place, int]) -> Place:
    place: Place = ()
    parts = _parts(header[2])
    for index, part in enumerate(parts):
        place += (part,)
        last = index == len(parts) - 1
        if last and header[1] == "[[":
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place += (counts[place],)
    return place


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _open_brackets(line: str, depth: int, fence: str) -> tuple[int, str]:
    """Brackets still open, and the multi-line string still open, at the end of a line."""
    position = 0
    while position < len(line):
        if fence:
            end = line.find(fence, position)
            if end < 0:
                return depth, fence if len(fence) == 3 else ""
            position, fence = end + len(fence), ""
            continue
        character = line[position]
        if character == "#":
            break
        if character in "\"'":
            fence = character * 3 if line.startswith(character * 3, position) else character
            position += len(fence)
            continue
        depth += (character in "[{") - (character in "]}")
        position += 1
    return depth, fence if len(fence) == 3 else ""


def _finding(mistake: dict[str, Any], shape: type[Settings], file: str, lines: Mapping[Place, int]) -> Finding:
    place = tuple(part for part in mistake["loc"] if not (isinstance(part, str) and part.startswith("function-")))
    setting = ".".join(str(part) for part in place)
    kind, seen = mistake["type"], mistake.get("input")
    if kind == "extra_forbidden":
        sentence = f"there is no such setting. {nearest(str(place[-1]), _known_keys(shape, place[:-1]))}"
    elif kind == "missing":
        sentence = "is missing."
    else:
        message = str(mistake["msg"]).removeprefix("Value error, ")
        shown = "" if isinstance(seen, dict | list) else f" It is {seen!r}."
        sentence = f"{message.rstrip('.')}.{shown}"
    return Finding("error", sentence, file=file, line=line_of(place, lines), setting=setting)


def _known_keys(shape: type[Settings], place: Sequence[str | int]) -> list[str]:
    known: Any = shape
    for part in place:
        if isinstance(part, int) or known is None:
            continue
        field = getattr(known, "model_fields", {}).get(part)
        known = _settings_type(field.annotation) if field is not None else None
    return [field.alias or name for name, field in getattr(known, "model_fields", {}).items()]


def _settings_type(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _settings_type(inner)) is not None), None)
