"""Findings about secrets in plain sight; their values are never repeated. Source: DESIGN 10, iis.md 9."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from torchgate.contract.findings import Finding
from torchgate.iis.lint_question import Question
from torchgate.iis.xml_document import Element

_NAME = re.compile(
    r"secret|passw|pwd|pepper|credential|api_?key|access_?key|private_?key|token|connection_?string|sas_",
    re.IGNORECASE,
)
_HARMLESS_NAME = re.compile(
    r"_(file|path|folder|dir|uri|url|endpoint|id|name|ttl|timeout|header|bytes|s)$", re.IGNORECASE
)
_REFERENCE = re.compile(
    r"(file|aws-secretsmanager|azure-keyvault|dpapi):.+|%[A-Za-z_()0-9]+%|true|false|\d{1,6}|", re.IGNORECASE
)
_VALUE = re.compile(
    r"eyJ[\w-]{10,}\.[\w-]+\.|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(password|pwd|accountkey|sharedaccesskey)\s*=\s*[^;\s]+|://[^/\s:@]+:[^/\s@]+@|\btg_[\w-]{8,}",
    re.IGNORECASE,
)
"""What is a secret whatever it is called: tokens, cloud keys, private keys, passwords in addresses, our own keys."""


def secret_findings(question: Question) -> Iterator[Finding]:
    """Environment variables, application settings, connection strings and arguments that look like secrets."""
    yield from _within(question.web, question.here)
    if question.host is not None:
        for pools in question.host.named("system.applicationHost"):
            yield from _within(pools, question.above)


def _within(element: Element, find: Callable[..., Finding]) -> Iterator[Finding]:
    name, value = _named_value(element)
    if name and _looks_secret(name, value):
        yield find(
            element,
            "error",
            f"{name!r} looks like a secret in plain sight: whoever reads this file or lists processes has it.",
            "Take it out, change it where it is used, and put a reference into [secrets] (file:, aws-secretsmanager:, "
            "azure-keyvault:, dpapi:).",
        )
    arguments = element.get("arguments")
    if arguments and _VALUE.search(arguments):
        yield find(
            element,
            "error",
            "arguments holds what looks like a secret: the command line of a process is no secret place.",
            "Put a reference into [secrets].",
        )
    if element.tag == "processModel" and element.get("password") and not element.get("password").startswith("[enc:"):
        yield find(
            element,
            "error",
            "the pool's password stands here unencrypted.",
            "Set it by appcmd or IIS Manager, which encrypt it; better use a group managed service account.",
        )
    for child in element.children:
        yield from _within(child, find)


def _named_value(element: Element) -> tuple[str, str]:
    if element.tag == "environmentVariable":
        return element.get("name"), element.get("value")
    if element.tag == "add":
        return element.get("key") or element.get("name"), element.get("connectionString") or element.get("value")
    return "", ""


def _looks_secret(name: str, value: str) -> bool:
    if not value or _REFERENCE.fullmatch(value):
        return False
    return bool(_VALUE.search(value) or (_NAME.search(name) and not _HARMLESS_NAME.search(name)))
