"""One event of Windows' event log, read from the XML that Windows gives for it."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.parsers import expat

import msgspec

_MAX_CHARACTERS = 1 << 20
_READ = {"Provider", "TimeCreated", "EventID", "Data"}


class LoggedEvent(msgspec.Struct, frozen=True):
    """One event.

    Args:
        provider: its source, e.g. `Microsoft-Windows-WAS`.
        number: its id.
        written_at: Unix seconds.
        values: its data, in order; texts of others, never to be believed.
        names: of those of the values that have one, `""` for the others.
    """

    provider: str
    number: int
    written_at: float
    values: tuple[str, ...]
    names: tuple[str, ...]

    def value(self, name: str, place: int) -> str:
        """A datum by its name, or where older systems leave names out, by its place."""
        if name in self.names:
            return self.values[self.names.index(name)]
        return self.values[place] if not any(self.names) and place < len(self.values) else ""


def read_event(text: str) -> LoggedEvent:
    """The event in an `<Event>` element.

    Raises:
        ValueError: it is none.
    """
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"an event of {len(text):,} characters")
    reading = _Reading()
    try:
        reading.parser.Parse(text, True)
    except expat.ExpatError as error:
        raise ValueError(f"no XML: {expat.ErrorString(error.code)}") from None
    if not reading.provider or not reading.number.strip().isdecimal():
        raise ValueError("it names no provider, or has no id")
    return LoggedEvent(
        reading.provider,
        int(reading.number),
        _seconds(reading.written),
        tuple("".join(parts).strip() for parts in reading.values),
        tuple(reading.names),
    )


def _seconds(text: str) -> float:
    """Of `2017-06-15T14:27:23.000000000Z`: Windows writes seven or nine digits, which Python 3.11 does not all read."""
    whole = text.partition(".")[0].removesuffix("Z")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()


class _Reading:
    """Collects while expat reads."""

    def __init__(self) -> None:
        self.provider = self.number = self.written = ""
        self.values: list[list[str]] = []
        self.names: list[str] = []
        self._open = ""
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._refuse

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._open = tag if tag in _READ else ""
        if tag == "Provider":
            self.provider = attributes.get("Name", "")
        elif tag == "TimeCreated":
            self.written = attributes.get("SystemTime", "")
        elif tag == "Data":
            self.values.append([])
            self.names.append(attributes.get("Name", ""))

    def _end(self, _: str) -> None:
        self._open = ""

    def _text(self, text: str) -> None:
        if self._open == "EventID":
            self.number += text
        elif self._open == "Data":
            self.values[-1].append(text)

    def _refuse(self, *_: object) -> None:
        raise ValueError("a DOCTYPE, which no event has")
