"""Settings files: TOML read into a frozen type, with every mistake at once, each with its line."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic

from torchgate.contract.bounded_files import read_bounded
from torchgate.contract.findings import Finding
from torchgate.contract.toml_lines import Place, line_numbers, line_of


class Settings(pydantic.BaseModel):
    """What every room's settings type is: frozen, and unknown keys are mistakes.

    What stands under a setting is its text in the reference. It is read by the tool that writes the reference, not by
    pydantic's use_attribute_docstrings: that parses all sources at each start, for a sixth of a gate's time to answer.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

    @pydantic.field_validator("*")
    @classmethod
    def _paths_are_printed_as_they_are(cls, value: Any) -> Any:
        """No file can have a NUL in its name, and a line end there would be a line of its own in every log."""
        if isinstance(value, Path) and _CONTROL.search(str(value)):
            raise ValueError("a path has no control characters")
        return value


MAX_BYTES = 8 << 20
"""Of one file; one with thousands of rules and keys stays far below."""

SettingsType = TypeVar("SettingsType", bound=Settings)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
TOO_MANY_DIGITS = "has a number with more digits than can be read."
SECRET_VALUE = "secret_value"  # noqa: S105 - the name of a kind of mistake
"""Error type of a pydantic_core.PydanticCustomError about a value that may be a secret: a finding never shows it."""


def read_settings(path: Path, shape: type[SettingsType]) -> tuple[SettingsType | None, list[Finding]]:
    """The settings in a TOML file, or None and all that is wrong with it.

    Args:
        path: of the file; named in each finding as given.
        shape: the type that it must fit.
    """
    values, lines, findings = read_toml(path)
    if findings:
        return None, findings
    return examine_settings(values, shape, str(path), lines)


def read_toml(path: Path) -> tuple[dict[str, Any], dict[Place, int], list[Finding]]:
    """The values in a TOML file and their lines; where it is none, the findings say so and both are empty."""
    file = str(path)
    try:
        text = read_bounded(path, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return {}, {}, [Finding("error", f"is not UTF-8 text: {error}.", file=file, remedy="Save it as UTF-8.")]
    except (OSError, ValueError) as error:
        return {}, {}, [Finding("error", f"can't be read: {getattr(error, 'strerror', None) or error}.", file=file)]
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        return {}, {}, [Finding("error", f"is not TOML: {error}.", file=file, line=line)]
    except RecursionError:
        return {}, {}, [Finding("error", "is nested too deeply to be read.", file=file)]
    except ValueError:
        return {}, {}, [Finding("error", TOO_MANY_DIGITS, file=file)]
    return values, line_numbers(text), []


def examine_settings(
    values: Mapping[str, Any],
    shape: type[SettingsType],
    file: str,
    lines: Mapping[Place, int],
    *,
    secret_tables: Sequence[str] = (),
) -> tuple[SettingsType | None, list[Finding]]:
    """Fit values into a settings type; the findings say what does not fit and where it stands.

    Args:
        secret_tables: top tables whose values no finding shows: who mistook them may have written a secret there.
    """
    try:
        # As JSON: strict types, and yet lists for tuples and text for paths, as TOML has them.
        text = json.dumps(values, default=_date_text)
    except ValueError:  # of a hexadecimal number: only decimal ones have a limit when they are read
        return None, [Finding("error", TOO_MANY_DIGITS, file=file)]
    try:
        return shape.model_validate_json(text), []
    except pydantic.ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False)
        told = [dict(mistake) for mistake in mistakes if not _follows(mistake, mistakes)]
        return None, [_finding(mistake, shape, file, lines, secret_tables) for mistake in told]


def nearest(name: str, known: Sequence[str]) -> str:
    """A sentence with the nearest known name, or all of them, ready to be put after a mistake."""
    close = difflib.get_close_matches(name, known, 1, 0.6)
    return f"Did you mean {close[0]!r}?" if close else f"Allowed: {', '.join(sorted(known))}."


def _date_text(value: Any) -> str:
    text: str = value.isoformat()  # what json does not know of TOML's values: dates and times
    return text


def _finding(
    mistake: dict[str, Any], shape: type[Settings], file: str, lines: Mapping[Place, int], secret_tables: Sequence[str]
) -> Finding:
    place = tuple(part for part in mistake["loc"] if not _is_of_pydantic(part))
    setting = ".".join(str(part) for part in place)
    kind, seen = mistake["type"], mistake.get("input")
    if kind == "extra_forbidden":
        sentence = f"there is no such setting. {nearest(str(place[-1]), _known_keys(shape, place[:-1]))}"
    elif kind == "missing":
        sentence = "is missing."
    else:
        message = str(mistake["msg"]).removeprefix("Value error, ")
        is_hidden = isinstance(seen, dict | list) or kind == SECRET_VALUE or (bool(place) and place[0] in secret_tables)
        sentence = f"{message.rstrip('.')}.{'' if is_hidden else f' It is {_cut(seen)}.'}"
    return Finding("error", sentence, file=file, line=line_of(place, lines), setting=setting)


def _follows(mistake: Mapping[str, Any], mistakes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a list is too short only because items of it are mistakes themselves: they were not counted."""
    place = mistake["loc"]
    return mistake["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in mistakes
    )


def _is_of_pydantic(part: str | int) -> bool:
    """Whether a part of a place is pydantic's word for how it looked, and not a key of the file."""
    return isinstance(part, str) and (part == "[key]" or part.startswith(("function-", "constrained-", "json-or-")))


def _cut(seen: object) -> str:
    shown = {True: "true", False: "false"}[seen] if isinstance(seen, bool) else repr(seen)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


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
