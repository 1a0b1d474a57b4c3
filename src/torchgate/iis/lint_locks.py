"""Findings about sections that the server keeps to itself, so that a web.config may not have them. Source: iis.md 9."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.contract.findings import Finding
from torchgate.iis.lint_question import Question
from torchgate.iis.located import is_within, sections
from torchgate.iis.xml_document import Element

LOCKED_BY_DEFAULT = (
    "system.webServer/security/access",
    "system.webServer/security/authentication/anonymousAuthentication",
    "system.webServer/security/authentication/basicAuthentication",
    "system.webServer/security/authentication/windowsAuthentication",
    "system.webServer/security/ipSecurity",
    "system.webServer/serverRuntime",
)
"""Of those that concern us; a fresh IIS allows them in applicationHost.config alone."""


def lock_findings(question: Question) -> Iterator[Finding]:
    """Every section of web.config that IIS would refuse with 500.19 because it is locked."""
    if question.host is None:
        for path in LOCKED_BY_DEFAULT:
            for place in sections(question.web, path):
                yield question.here(
                    place.element,
                    "warning",
                    f"<{place.element.tag}> is locked on a fresh IIS, which answers 500.19 to it here.",
                    "Put it into applicationHost.config for this location, as `torchgate iis render` does.",
                )
        return
    for path, is_locked in _declared(question.host):
        if is_locked and not _is_unlocked(question, path):
            for place in sections(question.web, path):
                yield question.here(
                    place.element,
                    "error",
                    f"<{place.element.tag}> is locked by the server, so that IIS answers 500.19.",
                    "Put it into applicationHost.config for this location, or unlock it there.",
                )


def _declared(host: Element) -> Iterator[tuple[str, bool]]:
    """Path of each declared section, and whether it is locked where nothing unlocks it."""
    for declarations in host.named("configSections"):
        yield from _in_group(declarations, "")


def _in_group(group: Element, path: str) -> Iterator[tuple[str, bool]]:
    for child in group.children:
        name = f"{path}{child.get('name')}"
        if child.tag == "sectionGroup":
            yield from _in_group(child, f"{name}/")
        elif child.tag == "section":
            is_host_only = child.get("allowDefinition").lower() in {"apphostonly", "machineonly"}
            yield name, is_host_only or child.get("overrideModeDefault", "Allow").lower() == "deny"


def _is_unlocked(question: Question, path: str) -> bool:
    """What is nearest to the application decides."""
    if question.host is None:
        return False
    ours, verdict, length = question.host_location(), False, -1
    for location in question.host.named("location"):
        where = "" if location.get("path") == "." else location.get("path").strip("/")
        mode = location.get("overrideMode").lower() or {"true": "allow", "false": "deny"}.get(
            location.get("allowOverride").lower(), ""
        )
        is_ours = is_within(ours, where) and any(True for _ in sections(_alone(location), path))
        if mode in {"allow", "deny"} and is_ours and len(where) >= length:
            verdict, length = mode == "allow", len(where)
    return verdict


def _alone(location: Element) -> Element:
    return Element("configuration", {}, [location], location.line)
