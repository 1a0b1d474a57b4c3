"""Findings about wfastcgi: whether it calls us, in a process that IIS knows, for as long as a request may take."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.contract.findings import Finding
from torchgate.iis.fast_cgi import APPLICATIONS, MAX_SIGNAL_S
from torchgate.iis.lint_question import Question
from torchgate.iis.located import section, sections
from torchgate.iis.plan import HANDLER
from torchgate.iis.xml_document import Element

_RENDER = "Let `torchgate iis render` write it."
_DEFAULTS = {"activityTimeout": 70, "requestTimeout": 90, "instanceMaxRequests": 200, "signalBeforeTerminateSeconds": 0}
_FEW_REQUESTS = 1000
_CLOSING_S = 2


def fast_cgi_findings(question: Question) -> Iterator[Finding]:
    """What is found where the front door is wfastcgi; elsewhere nothing."""
    if question.facts.front_door != "fastcgi":
        return
    handlers = [
        one
        for place in sections(question.web, "system.webServer/handlers")
        for one in place.element.named("add")
        if "wfastcgi" in one.get("scriptProcessor").lower()
    ]
    if not handlers:
        yield question.here(None, "error", "gate.front_door is 'fastcgi', and no handler calls wfastcgi.", _RENDER)
    yield from _settings(question)
    for handler in handlers:
        yield from _process(question, handler)


def _settings(question: Question) -> Iterator[Finding]:
    values = {
        one.get("key").strip().upper(): (one, one.get("value"))
        for settings in question.web.named("appSettings")
        for one in settings.named("add")
    }
    where, handler = values.get("WSGI_HANDLER", (None, ""))
    if handler != HANDLER:
        yield question.here(
            where,
            "warning",
            f"WSGI_HANDLER is {handler!r}: whether Torchgate examines its callers can't be seen here.",
            f"Have torchgate.Gate guard that application, or name {HANDLER}.",
        )
    elif not values.get("TORCHGATE_PROJECT", (None, ""))[1]:
        yield question.here(
            None, "error", "no application setting TORCHGATE_PROJECT says where the project is.", _RENDER
        )


def _process(question: Question, handler: Element) -> Iterator[Finding]:
    if question.host is None:
        return
    named = handler.get("scriptProcessor")
    applications = section(question.host, APPLICATIONS)
    known = applications.named("application") if applications is not None else ()
    found = next((one for one in known if _processor(one).lower() == named.lower()), None)
    if found is None:
        yield question.above(
            applications,
            "error",
            f"no FastCGI application is {named!r}, quotes and all, so that IIS answers 500.0 to everything.",
            "Let `torchgate iis install` add it.",
        )
        return
    yield from _limits(question, found)
    if found.get("stderrMode", "ReturnStdErrIn500").lower() == "returnstderrin500":
        yield question.above(
            found,
            "warning",
            "stderrMode is ReturnStdErrIn500: what wfastcgi writes about a failure goes to whoever asked.",
            'Set stderrMode="ReturnGeneric500".',
        )


def _processor(application: Element) -> str:
    return f"{application.get('fullPath')}|{application.get('arguments')}"


def _limits(question: Question, application: Element) -> Iterator[Finding]:
    def number(name: str) -> int:
        text = application.get(name)
        return int(text) if text.isdecimal() else _DEFAULTS[name]

    facts = question.facts
    for name in ("activityTimeout", "requestTimeout"):
        if number(name) <= facts.max_timeout_s:
            yield question.above(
                application,
                "error",
                f"{name} is {number(name)} s, and a request may take {facts.max_timeout_s:g} s (gate.max_timeout_s): "
                "IIS ends the process before our 504.",
                f'Set {name}="{int(facts.max_timeout_s) + 30}", or lower gate.max_timeout_s.',
            )
    if number("instanceMaxRequests") < _FEW_REQUESTS:
        yield question.above(
            application,
            "warning",
            f"instanceMaxRequests is {number('instanceMaxRequests')}: so often a caller waits for a new process.",
            'Set instanceMaxRequests="1000000".',
        )
    wanted = min(MAX_SIGNAL_S, int(facts.drain_s) + _CLOSING_S)
    if number("signalBeforeTerminateSeconds") < wanted:
        yield question.above(
            application,
            "warning",
            f"signalBeforeTerminateSeconds is {number('signalBeforeTerminateSeconds')}: a process needs {wanted} s to "
            "finish what runs and to end its audit chain.",
            f'Set signalBeforeTerminateSeconds="{wanted}".',
        )
