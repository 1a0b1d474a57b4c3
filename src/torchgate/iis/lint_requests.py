"""Findings about what IIS lets through before we see it: lengths, names, and errors of its own. Source: iis.md 6.1."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.contract.findings import Finding
from torchgate.iis.lint_question import Question
from torchgate.iis.located import sections
from torchgate.iis.xml_document import Element

_FILTERING = "system.webServer/security/requestFiltering"
_DEFAULT_BODY_BYTES = 30_000_000
_DEFAULT_HIDDEN = (
    "bin",
    "app_code",
    "app_data",
    "app_browsers",
    "app_globalresources",
    "app_localresources",
    "app_webreferences",
    "web.config",
)
_METHODS = ("GET", "POST", "HEAD")


def request_findings(question: Question) -> Iterator[Finding]:
    """What is found in requestFiltering, httpErrors and serverRuntime."""
    filtering = question.effective(_FILTERING)
    limits = filtering.first("requestLimits") if filtering is not None else None
    yield from _body(question, limits)
    if filtering is not None:
        yield from _verbs(question, filtering)
        yield from _extensions(question, filtering)
    yield from _names(question, filtering)
    for place in sections(question.web, "system.webServer/httpErrors"):
        if place.element.get("existingResponse").lower() == "replace":
            yield question.here(
                place.element,
                "error",
                "httpErrors replaces our errors by pages of IIS: their code, request id and reason are lost.",
                'Set existingResponse="PassThrough".',
            )
    runtime = question.effective("system.webServer/serverRuntime")
    limit = "" if runtime is None else runtime.get("appConcurrentRequestLimit")
    if limit.isdecimal() and int(limit) < question.facts.max_connections:
        yield question.here(
            None,
            "warning",
            f"appConcurrentRequestLimit is {limit}, below gate.max_connections ({question.facts.max_connections}).",
            "Raise it, or lower gate.max_connections.",
        )


def _body(question: Question, limits: Element | None) -> Iterator[Finding]:
    text = "" if limits is None else limits.get("maxAllowedContentLength")
    if text and not text.isdecimal():
        yield question.here(limits, "error", f"maxAllowedContentLength is {text!r}, which is no number of bytes.")
        return
    allowed = int(text) if text.isdecimal() else _DEFAULT_BODY_BYTES
    wanted = question.facts.max_body_bytes
    if allowed < wanted:
        said = f"maxAllowedContentLength is {allowed:,}" if text else f"IIS's own limit of {allowed:,} bytes holds"
        yield question.here(
            limits,
            "error",
            f"{said}, below gate.max_body_bytes ({wanted:,}): larger requests get IIS's 413 or 404.",
            f'Set <requestLimits maxAllowedContentLength="{wanted}"/> in requestFiltering.',
        )


def _verbs(question: Question, filtering: Element) -> Iterator[Finding]:
    verbs = filtering.first("verbs")
    if verbs is None:
        return
    said = {one.get("verb").upper(): one.get("allowed").lower() == "true" for one in verbs.named("add")}
    by_default = verbs.get("allowUnlisted", "true").lower() == "true"
    refused = [method for method in _METHODS if not said.get(method, by_default)]
    if refused:
        yield question.here(
            verbs,
            "error",
            f"requestFiltering refuses {', '.join(refused)}: those requests get 404.6 from IIS.",
            "Allow GET, HEAD and POST.",
        )


def _extensions(question: Question, filtering: Element) -> Iterator[Finding]:
    extensions = filtering.first("fileExtensions")
    if extensions is not None and extensions.get("allowUnlisted", "true").lower() == "false":
        yield question.here(
            extensions,
            "warning",
            "requestFiltering refuses file extensions that are not listed: a model named `net.v2` gets 404.7.",
            'Set allowUnlisted="true", or name models without dots.',
        )


def _names(question: Question, filtering: Element | None) -> Iterator[Finding]:
    hidden: set[str] = set(_DEFAULT_HIDDEN)
    segments = filtering.first("hiddenSegments") if filtering is not None else None
    for one in segments.children if segments is not None else ():
        name = one.get("segment").lower()
        if one.tag == "add":
            hidden.add(name)
        elif one.tag == "clear":
            hidden.clear()
        else:
            hidden.discard(name)
    for model in question.facts.models:
        if model.lower() in hidden:
            yield question.here(
                segments,
                "error",
                f"model {model!r} has a name that IIS hides: every request of it gets 404.8.",
                f'Rename the model, or add <remove segment="{model}"/> to hiddenSegments.',
            )
