"""What IIS allows in each section, read from the schema files that IIS itself goes by."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from torchgate.iis.xml_document import Element, read_xml


class AttributeRule(msgspec.Struct, frozen=True):
    """One attribute.

    Args:
        kind: `bool`, `uint`, `int`, `int64`, `string`, `timeSpan`, `enum` or `flags`.
        is_required: whether an element without it is refused.
        is_key: whether it is part of what tells an entry of a collection from the others.
        names: of the values of enum and flags.
        validation: name of IIS's validator, or empty; parameter: what it is given.
        is_infinite_allowed: whether `Infinite` is a number, too.
        time_format: of a timeSpan: `string` (hh:mm:ss), `seconds` or `minutes`.
    """

    kind: str
    is_required: bool = False
    is_key: bool = False
    names: tuple[str, ...] = ()
    validation: str = ""
    parameter: str = ""
    is_infinite_allowed: bool = False
    time_format: str = "string"


class ElementRule(msgspec.Struct):
    """One element or section: its attributes, its elements, and its collections by the name of their entries."""

    attributes: dict[str, AttributeRule]
    elements: dict[str, ElementRule]
    entries: dict[str, ElementRule]
    removers: dict[str, ElementRule]
    takes_any_attribute: bool = False


Sections = dict[str, ElementRule]
"""Path of a section → its rule, e.g. `system.webServer/handlers`."""


def read_schemas(folder: Path) -> Sections:
    """All sections of the schema files in a folder.

    Raises:
        XmlMistake, OSError: one of them can't be read.
        FileNotFoundError: there are none.
    """
    files = sorted(folder.glob("*.xml"))
    if not files:
        raise FileNotFoundError(f"{folder} has no schema files (*.xml)")
    sections: Sections = {}
    for file in files:
        for schema in read_xml(file).named("sectionSchema"):
            # Extensions add to the sections of others: webfarm.xml to sites, rscaext.xml to pools.
            _read_into(sections.setdefault(schema.get("name"), _empty()), schema)
    return sections


def _empty() -> ElementRule:
    return ElementRule({}, {}, {}, {})


def _read_into(rule: ElementRule, schema: Element) -> None:
    for child in schema.children:
        if child.tag == "attribute":
            rule.attributes[child.get("name")] = _attribute(child)
        elif child.tag == "element":
            _read_into(rule.elements.setdefault(child.get("name"), _empty()), child)
        elif child.tag == "collection":
            _read_collection(rule, child)


def _read_collection(rule: ElementRule, schema: Element) -> None:
    entry = _empty()
    _read_into(entry, schema)
    entry.takes_any_attribute = schema.get("allowUnrecognizedAttributes") == "true"
    for name in _names(schema.get("addElement")):
        _merge(rule.entries.setdefault(name, _empty()), entry)
    if default := schema.get("defaultElement"):
        # Defaults of a collection have the entry's shape, and no key is required of them.
        _merge(rule.elements.setdefault(default, _empty()), _optional(entry))
    for name in _names(schema.get("removeElement")):
        keys = {key: one for key, one in entry.attributes.items() if one.is_key}
        _merge(rule.removers.setdefault(name, _empty()), ElementRule(keys, {}, {}, {}))
    if clear := schema.get("clearElement"):
        rule.removers.setdefault(clear, _empty())


def _merge(into: ElementRule, more: ElementRule) -> None:
    into.attributes.update(more.attributes)
    for ours, theirs in ((into.elements, more.elements), (into.entries, more.entries), (into.removers, more.removers)):
        for name, rule in theirs.items():
            # A copy: what one extension adds to a section must not appear in another that shares the entry.
            _merge(ours.setdefault(name, _empty()), rule)
    into.takes_any_attribute = into.takes_any_attribute or more.takes_any_attribute


def _optional(rule: ElementRule) -> ElementRule:
    attributes = {
        name: msgspec.structs.replace(one, is_required=False, validation="", parameter="") if one.is_required else one
        for name, one in rule.attributes.items()
    }
    return ElementRule(attributes, rule.elements, rule.entries, rule.removers, rule.takes_any_attribute)


def _attribute(schema: Element) -> AttributeRule:
    return AttributeRule(
        kind=schema.get("type") or "string",
        is_required=schema.get("required") == "true",
        is_key="true" in {schema.get("isUniqueKey"), schema.get("isCombinedKey")},
        names=tuple(_names(value.get("name") for value in schema.children if value.tag in {"enum", "flag"})),
        validation=schema.get("validationType"),
        parameter=schema.get("validationParameter"),
        is_infinite_allowed=schema.get("allowInfinite") == "true",
        time_format=schema.get("timeSpanFormat") or "string",
    )


def _names(text: str | Iterable[str]) -> list[str]:
    parts = text.split(",") if isinstance(text, str) else text
    return [part.strip() for part in parts if part.strip()]
