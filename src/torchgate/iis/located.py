"""Sections of a configuration by their path, wherever a `location` puts them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from torchgate.iis.xml_document import Element


class Located(msgspec.Struct, frozen=True):
    """One section where it holds.

    Args:
        location: path that it is for, `""` for all; as `<location path>` has it.
        element: the section.
    """

    location: str
    element: Element


def sections(root: Element, path: str) -> Iterator[Located]:
    """Every section of this path, e.g. `system.webServer/handlers`, in the order of the file."""
    for element in below(root, path):
        yield Located("", element)
    for location in root.named("location"):
        where = location.get("path").strip("/")
        for element in below(location, path):
            yield Located("" if where == "." else where, element)


def section(root: Element, path: str, location: str = "") -> Element | None:
    """The section that says most about a location: its own, else that of the nearest location above it."""
    best, length = None, -1
    for one in sections(root, path):
        if is_within(location, one.location) and len(one.location) >= length:
            best, length = one.element, len(one.location)
    return best


def is_within(path: str, location: str) -> bool:
    """Whether a path is a location or below it; compared as IIS does, by segments and without regard to case."""
    if not location:
        return True
    return f"{path.strip('/').lower()}/".startswith(f"{location.strip('/').lower()}/")


def is_on(root: Element, path: str, location: str = "", *, default: bool = False) -> bool:
    """Whether the section of this path says `enabled`."""
    found = section(root, path, location)
    return default if found is None or "enabled" not in found.attributes else found.get("enabled").lower() == "true"


def below(element: Element, path: str) -> Iterator[Element]:
    """Every element at a path below another."""
    name, _, rest = path.partition("/")
    for child in element.named(name):
        if rest:
            yield from below(child, rest)
        else:
            yield child
