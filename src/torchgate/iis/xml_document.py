"""A configuration file of IIS as a tree in which every element knows its line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

import msgspec

from torchgate.contract.bounded_files import FileRefused, read_bounded

MAX_BYTES = 8 << 20
"""Of one file; an applicationHost.config with thousands of sites stays far below."""

MAX_DEPTH = 200
"""Elements inside elements; IIS's own files have about ten."""


class XmlMistake(ValueError):
    """Why a file is no configuration; `line` is where, or 0."""

    def __init__(self, sentence: str, line: int = 0) -> None:
        super().__init__(sentence)
        self.line = line


class Element(msgspec.Struct):
    """One element.

    Args:
        tag: as written.
        attributes: in order.
        children: in order.
        line: 1-based, of its start.
    """

    tag: str
    attributes: dict[str, str]
    children: list[Element]
    line: int

    def named(self, tag: str) -> Iterator[Element]:
        """The children of this name; IIS compares it letter by letter."""
        return (child for child in self.children if child.tag == tag)

    def first(self, tag: str) -> Element | None:
        """The first child of this name."""
        return next(self.named(tag), None)

    def get(self, name: str, default: str = "") -> str:
        """The value of an attribute."""
        return self.attributes.get(name, default)


def read_xml(file: Path) -> Element:
    """The root element of a file.

    Raises:
        XmlMistake: it is no XML, or more than a configuration may be.
        OSError: it can't be read.
    """
    try:
        data = read_bounded(file, MAX_BYTES)
    except FileRefused as refused:
        raise XmlMistake(str(refused)) from None
    return parse_xml(data)


def parse_xml(data: bytes | str) -> Element:
    """The root element of a text.

    Raises:
        XmlMistake: as read_xml.
    """
    reading = _Reading()
    try:
        reading.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise XmlMistake(f"it is no XML: {expat.ErrorString(error.code)}", error.lineno) from None
    except XmlMistake:
        raise
    except (LookupError, ValueError) as error:  # an encoding that Python does not know, or expat can't use
        raise XmlMistake(f"it can't be read: {error}") from None
    return reading.top[0]


class _Reading:
    """Builds the tree while expat reads."""

    def __init__(self) -> None:
        self.top: list[Element] = []
        self._open: list[Element] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._refuse

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise XmlMistake(f"its elements are nested deeper than {MAX_DEPTH}", self.parser.CurrentLineNumber)
        element = Element(tag, attributes, [], self.parser.CurrentLineNumber)
        (self._open[-1].children if self._open else self.top).append(element)
        self._open.append(element)

    def _end(self, _: str) -> None:
        self._open.pop()

    def _refuse(self, *_: object) -> None:
        # Entities are how small files become large ones, and no configuration of IIS has any.
        raise XmlMistake("it has a DOCTYPE, which no configuration of IIS has", self.parser.CurrentLineNumber)
