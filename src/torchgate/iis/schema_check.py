"""Whether a whole configuration is one that IIS reads: sections, elements, attributes and values."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.contract.findings import Finding
from torchgate.contract.settings_file import nearest
from torchgate.iis.attribute_check import value_mistake
from torchgate.iis.config_schema import ElementRule, Sections
from torchgate.iis.xml_document import Element

_OURS = ("system.webServer", "system.applicationHost", "webFarms")
"""The groups whose sections the schema files describe; .NET and others have schemas of their own."""

_EVERYWHERE = frozenset(
    {
        "allowOverride", "configProtectionProvider", "configSource", "lockAllAttributesExcept",
        "lockAllElementsExcept", "lockAttributes", "lockElements", "lockItem", "overrideMode",
    }
)  # fmt: skip
_SECURE = frozenset({"EncryptedData"})


def schema_findings(root: Element, sections: Sections, file: str) -> Iterator[Finding]:
    """What IIS would refuse with 500.19, one finding each; values are never repeated, they may be secrets.

    Args:
        root: `configuration`.
        sections: from the machine that the file is for: a module that is not installed there has none.
        file: for the findings.
    """
    if root.tag != "configuration":
        yield Finding("error", f"its first element is <{root.tag}>, not <configuration>.", file=file, line=root.line)
        return
    for place in (root, *root.named("location")):
        for group in _OURS:
            for element in place.named(group):
                yield from _Check(sections, file).within(group, element)


class _Check:
    """Examines the elements of one group.

    Args:
        sections, file: as schema_findings.
    """

    def __init__(self, sections: Sections, file: str) -> None:
        self._sections = sections
        self._file = file

    def within(self, path: str, element: Element) -> Iterator[Finding]:
        """The findings of a section, or of all sections of a group."""
        rule = self._sections.get(path)
        if rule is not None:
            yield from self._element(rule, element, path)
            return
        if not any(name.startswith(f"{path}/") for name in self._sections):
            known = sorted(self._sections)
            yield self._finding(
                element, f"<{element.tag}> is no section that this IIS knows. {nearest(path, known)}",
                "Install the module that brings it, or take it out.",
            )  # fmt: skip
            return
        for child in element.children:
            yield from self.within(f"{path}/{child.tag}", child)

    def _element(self, rule: ElementRule, element: Element, path: str) -> Iterator[Finding]:
        yield from self._attributes(rule, element, path)
        for child in element.children:
            below = rule.elements.get(child.tag) or rule.entries.get(child.tag) or rule.removers.get(child.tag)
            if below is not None:
                yield from self._element(below, child, f"{path}/{child.tag}")
            elif child.tag not in _SECURE:
                known = sorted({*rule.elements, *rule.entries, *rule.removers})
                allowed = nearest(child.tag, known) if known else "It has no elements."
                yield self._finding(child, f"<{element.tag}> has no element <{child.tag}>. {allowed}")

    def _attributes(self, rule: ElementRule, element: Element, path: str) -> Iterator[Finding]:
        for name, value in element.attributes.items():
            attribute = rule.attributes.get(name)
            if attribute is None:
                if name not in _EVERYWHERE and not rule.takes_any_attribute:
                    known = sorted(rule.attributes)
                    allowed = nearest(name, known) if known else "It has no attributes."
                    yield self._finding(element, f"<{element.tag}> has no attribute {name!r}. {allowed}")
            elif mistake := value_mistake(attribute, value):
                yield self._finding(element, f"the value of {name!r} of <{element.tag}> is refused: {mistake}.")
        for name, attribute in rule.attributes.items():
            if attribute.is_required and name not in element.attributes:
                yield self._finding(element, f"<{element.tag}> in {path} lacks {name!r}.")

    def _finding(self, element: Element, sentence: str, remedy: str = "") -> Finding:
        return Finding("error", f"{sentence} IIS answers 500.19.", file=self._file, line=element.line, remedy=remedy)
