"""Plain values as TOML, sorted: the same values are the same text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(values: Mapping[str, Any]) -> str:
    """A document of strings, numbers, booleans, lists and tables; no None.

    A table that holds nothing but single values stands on one line where its own table holds such tables alone, so
    that a review shows one line for each thing.
    """
    return "\n".join(_table(values, ())).strip("\n") + "\n"


def _table(values: Mapping[str, Any], around: tuple[str, ...]) -> Iterator[str]:
    inline = bool(around) and _holds_lines(values)
    for key, value in sorted(values.items()):
        if inline or not _has_header(value):
            yield f"{_key(key)} = {_value(value)}"
    if inline:
        return
    for key, value in sorted(values.items()):
        if isinstance(value, Mapping):
            path = (*around, key)
            if not value or any(not _has_header(inner) for inner in value.values()) or _holds_lines(value):
                yield f"\n[{'.'.join(map(_key, path))}]"
            yield from _table(value, path)
        elif _has_header(value):
            for one in value:
                yield f"\n[[{'.'.join(map(_key, (*around, key)))}]]"
                yield from _table(one, (*around, key))


def _has_header(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return isinstance(value, Mapping) or (is_list and bool(value) and all(isinstance(one, Mapping) for one in value))


def _holds_lines(values: Mapping[str, Any]) -> bool:
    return bool(values) and all(_is_flat_table(value) for value in values.values())


def _is_flat_table(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(one, str | int | float) for one in value.values())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in sorted(value.items())) + " }"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def _key(text: str) -> str:
    return text if _BARE_KEY.fullmatch(text) else _string(text)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for one control character that JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
