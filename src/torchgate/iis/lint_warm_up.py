"""Findings about Application Initialization: whether the first caller meets a warm model. Source: iis.md 5."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.contract.findings import Finding
from torchgate.iis.facts import MODULES
from torchgate.iis.lint_authentication import AUTHENTICATION
from torchgate.iis.lint_question import Question
from torchgate.iis.located import is_on, section, sections
from torchgate.iis.xml_document import Element


def warm_up_findings(question: Question) -> Iterator[Finding]:
    """What is found in applicationInitialization and about the path that it asks."""
    if question.facts.front_door not in MODULES:
        return
    found = next(sections(question.web, "system.webServer/applicationInitialization"), None)
    pages = list(found.element.named("add")) if found is not None else []
    if not pages:
        yield question.here(
            None if found is None else found.element,
            "warning",
            "there is no Application Initialization, so that the first caller after each start waits for the models.",
            "Let `torchgate iis render` write it, and install the role service Web-AppInit.",
        )
        return
    for page in pages:
        yield from _page(question, page)


def _page(question: Question, page: Element) -> Iterator[Finding]:
    path = page.get("initializationPage").split("?")[0].strip("/")
    shown = f"/{path}"
    if not _is_anonymous(question, path):
        yield question.here(
            page,
            "error",
            f"{shown} is not open to anonymous callers: IIS asks it without credentials, gets 401, and takes "
            "that for warm.",
            f'Add <location path="{path}"> with anonymous on and Windows off; render writes it.',
        )
    if question.effective("system.webServer/httpRedirect", path) is not None and is_on(
        question.web, "system.webServer/httpRedirect", path
    ):
        yield question.here(
            page,
            "error",
            f"{shown} is redirected, and IIS takes the redirect for warm.",
            f'Switch httpRedirect off at <location path="{path}">.',
        )
    access = question.effective("system.webServer/security/access", path)
    if access is not None and "ssl" in access.get("sslFlags").lower():
        yield question.here(
            page,
            "error",
            f"{shown} wants TLS, and IIS warms up by plain http alone.",
            f'Set <access sslFlags="None"/> at <location path="{path}">.',
        )


def _is_anonymous(question: Question, path: str) -> bool:
    anonymous = f"{AUTHENTICATION}/anonymousAuthentication"
    if section(question.web, anonymous, path) is not None or question.host is None:
        return is_on(question.web, anonymous, path, default=True)
    return is_on(question.host, anonymous, question.host_location(path), default=True)
