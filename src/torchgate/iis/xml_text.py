"""A configuration as text: indented, attributes escaped, with a comment at its head."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.iis.xml_document import Element

_ESCAPED = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


def element(tag: str, *children: Element, **attributes: object) -> Element:
    """An element; booleans become `true` and `false`, and what is None is left out."""
    named = {name: _value(value) for name, value in attributes.items() if value is not None}
    return Element(tag, named, list(children), 0)


def xml_text(root: Element, comment: str) -> str:
    """The file.

    Args:
        root: its first element.
        comment: for people who read it.

    Raises:
        ValueError: a value has a character that no XML file can hold.
    """
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        *(f"<!-- {line.replace('--', '-')} -->" for line in comment.splitlines()),
    ]
    return "\n".join([*lines, *_lines(root, "")]) + "\n"


def _lines(one: Element, indent: str) -> Iterator[str]:
    attributes = "".join(f" {name}={_quoted(value)}" for name, value in one.attributes.items())
    if not one.children:
        yield f"{indent}<{one.tag}{attributes} />"
        return
    yield f"{indent}<{one.tag}{attributes}>"
    for child in one.children:
        yield from _lines(child, f"{indent}  ")
    yield f"{indent}</{one.tag}>"


def _quoted(value: str) -> str:
    if any(ord(character) < 32 and character not in "\t\n\r" for character in value):
        raise ValueError("a value has a control character, which no XML file can hold")
    return f'"{value.translate(_ESCAPED)}"'


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
