"""Reads configurations of IIS offline, on any system, and reports what hurts in production, with the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from torchgate.contract.findings import Finding
from torchgate.iis.config_schema import Sections
from torchgate.iis.facts import ServerFacts
from torchgate.iis.lint_authentication import authentication_findings
from torchgate.iis.lint_fast_cgi import fast_cgi_findings
from torchgate.iis.lint_locks import lock_findings
from torchgate.iis.lint_module import module_findings
from torchgate.iis.lint_pool import pool_findings
from torchgate.iis.lint_processes import processes_findings
from torchgate.iis.lint_question import Question, Site
from torchgate.iis.lint_requests import request_findings
from torchgate.iis.lint_rewrite import rewrite_findings
from torchgate.iis.lint_secrets import secret_findings
from torchgate.iis.lint_warm_up import warm_up_findings
from torchgate.iis.located import sections
from torchgate.iis.schema_check import schema_findings
from torchgate.iis.xml_document import Element, XmlMistake, read_xml

_ORDER = {"error": 0, "warning": 1, "info": 2}


def lint(
    web_config: Path,
    application_host: Path | None = None,
    *,
    site: Site | None = None,
    facts: ServerFacts | None = None,
    schemas: Sections | None = None,
) -> tuple[Finding, ...]:
    """Everything that is worth a person's look, errors first.

    Args:
        web_config: of the application.
        application_host: of the server; without it nothing is said of pools, sites and warm-up settings.
        site: which application of it; needed where it has several.
        facts: of the Torchgate server behind it; without them limits are compared with our defaults, and the front
            door is the one that the file itself has.
        schemas: of that IIS; without them, names and values are not examined one by one.
    """
    findings: list[Finding] = []
    web = _read(web_config, findings)
    host = _read(application_host, findings) if application_host is not None else None
    for root, file in ((web, web_config), (host, application_host)):
        if root is not None and schemas is not None:
            findings += schema_findings(root, schemas, str(file))
    if web is not None:
        known = _with_pool(web, facts or _usual_facts(web))
        question = Question(web, str(web_config), host, str(application_host or ""), known, site)
        findings += _rules(question)
    return tuple(sorted(findings, key=lambda one: (_ORDER[one.severity], one.file, one.line)))


def _rules(question: Question) -> Iterator[Finding]:
    yield from module_findings(question)
    yield from processes_findings(question)
    yield from fast_cgi_findings(question)
    yield from lock_findings(question)
    yield from request_findings(question)
    yield from authentication_findings(question)
    yield from rewrite_findings(question)
    yield from secret_findings(question)
    yield from warm_up_findings(question)
    yield from pool_findings(question)


def _usual_facts(web: Element) -> ServerFacts:
    """What a server with our defaults behind the module of this file would say."""
    settings = [one.get("key") for settings in web.named("appSettings") for one in settings.named("add")]
    if "TORCHGATE_PROJECT" in settings:
        return ServerFacts(front_door="fastcgi")
    has = {name: any(sections(web, f"system.webServer/{name}")) for name in ("aspNetCore", "httpPlatform")}
    return ServerFacts(front_door="httpplatform" if has["httpPlatform"] and not has["aspNetCore"] else "ancm")


def _with_pool(web: Element, facts: ServerFacts) -> ServerFacts:
    """Whether the models run apart: then IIS starts a gate."""
    modules = (
        one.element for name in ("aspNetCore", "httpPlatform") for one in sections(web, f"system.webServer/{name}")
    )
    is_gate = any("torchgate gate" in module.get("arguments") for module in modules)
    return msgspec.structs.replace(facts, has_own_pool=facts.has_own_pool or is_gate or facts.front_door == "fastcgi")


def _read(file: Path, findings: list[Finding]) -> Element | None:
    try:
        return read_xml(file)
    except XmlMistake as mistake:
        findings.append(Finding("error", f"{mistake}.", file=str(file), line=mistake.line))
    except OSError as error:
        findings.append(Finding("error", f"it can't be read: {error.strerror or error}.", file=str(file)))
    return None
