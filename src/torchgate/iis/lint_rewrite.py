"""Findings about URL Rewrite and ARR: headers that never carry what they seem to. Source: iis.md 4, 9."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torchgate.contract.findings import Finding
from torchgate.iis.attribute_check import seconds_of
from torchgate.iis.lint_question import Question
from torchgate.iis.located import section, sections
from torchgate.iis.xml_document import Element

_EMPTY = ("{LOGON_USER}", "{AUTH_USER}", "{REMOTE_USER}", "{AUTH_TYPE}")


def rewrite_findings(question: Question) -> Iterator[Finding]:
    """What is found in rewrite rules of both files, and in the proxy of the server."""
    yield from _rules(question.web, question.here)
    if question.host is not None:
        yield from _rules(question.host, question.above)
    yield from _proxy(question)


def _rules(root: Element, find: Callable[..., Finding]) -> Iterator[Finding]:
    for path in ("system.webServer/rewrite/rules", "system.webServer/rewrite/globalRules"):
        for place in sections(root, path):
            for rule in place.element.named("rule"):
                yield from _empty_headers(rule, find)


def _empty_headers(rule: Element, find: Callable[..., Finding]) -> Iterator[Finding]:
    for variable, value in _variables(rule):
        if any(name in value.upper() for name in _EMPTY):
            yield find(
                variable,
                "error",
                f"rewrite rule {rule.get('name')!r} puts who called into a header, and is applied before IIS knows: "
                "the header is always empty.",
                "Let the ASP.NET Core Module forward the caller's token (front door `ancm`).",
            )


def _variables(rule: Element) -> Iterator[tuple[Element, str]]:
    variables = rule.first("serverVariables")
    for one in variables.named("set") if variables is not None else ():
        yield one, one.get("value")


def _proxy(question: Question) -> Iterator[Finding]:
    proxy = section(question.host, "system.webServer/proxy") if question.host is not None else None
    if proxy is None or proxy.get("enabled", "false").lower() != "true" or question.facts.front_door != "arr":
        return
    timeout_s = seconds_of(proxy.get("timeout", "00:02:00"))
    if timeout_s is not None and timeout_s <= question.facts.max_timeout_s:
        yield question.above(
            proxy,
            "error",
            f"ARR gives up after {timeout_s:g} s, and a request may take {question.facts.max_timeout_s:g} s "
            "(gate.max_timeout_s).",
            "Raise proxy/timeout above it.",
        )
    if proxy.get("preserveHostHeader", "false").lower() != "true":
        yield question.above(
            proxy,
            "warning",
            "ARR replaces the Host header, so that gate.hosts sees its own name instead of the caller's.",
            'Set preserveHostHeader="true".',
        )
    if section(question.web, "system.webServer/applicationInitialization") is not None:
        yield question.above(
            proxy,
            "warning",
            "Application Initialization and ARR on one machine are called incompatible by Microsoft.",
            "Warm the server by its own start (a Windows service), not by IIS.",
        )
