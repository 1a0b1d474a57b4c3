"""Findings about who authenticates whom, and what a client could pretend. Source: iis.md 1.5, 1.6, 7; DESIGN 4.3."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.contract.findings import Finding
from torchgate.iis.facts import MODULE_SECTIONS
from torchgate.iis.lint_question import Question
from torchgate.iis.located import is_on, section, sections
from torchgate.iis.token_header_rule import blocks_in

AUTHENTICATION = "system.webServer/security/authentication"
TOKEN_HEADER = "X-IIS-WindowsAuthToken"  # noqa: S105 - a name


def authentication_findings(question: Question) -> Iterator[Finding]:
    """What is found about anonymous, Windows and Basic authentication at every location."""
    for location in _locations(question):
        yield from _mix(question, location)
    yield from _forwarding(question)


def _locations(question: Question) -> list[str]:
    found = {"": None}
    for kind in ("anonymousAuthentication", "windowsAuthentication", "basicAuthentication"):
        found.update({place.location: None for place in sections(question.web, f"{AUTHENTICATION}/{kind}")})
    return list(found)


def _mix(question: Question, location: str) -> Iterator[Finding]:
    is_said = any(
        question.effective(f"{AUTHENTICATION}/{kind}Authentication", location) is not None
        for kind in ("anonymous", "windows")
    )
    if not is_said:
        return
    anonymous = _is_on(question, "anonymous", location, default=True)
    windows = _is_on(question, "windows", location, default=False)
    where = f"at {location!r} " if location else ""
    element = section(question.web, f"{AUTHENTICATION}/windowsAuthentication", location)
    if anonymous and windows:
        yield question.here(
            element,
            "error" if question.facts.takes_windows else "warning",
            f"{where}anonymous and Windows authentication are both on: IIS never asks who calls, and each 401 of ours "
            "becomes a login box.",
            "Give Windows callers a path of their own with anonymous off, and bearer tokens one with Windows off.",
        )
    if windows and _is_on(question, "basic", location, default=False):
        yield question.here(
            element,
            "warning",
            f"{where}Basic authentication is on beside Windows: it forwards the password, and no token.",
            "Switch Basic off.",
        )
    if not location and question.facts.takes_bearer and not anonymous:
        yield question.here(
            section(question.web, f"{AUTHENTICATION}/anonymousAuthentication"),
            "error",
            "anonymous authentication is off, so that IIS refuses bearer tokens and API keys before we see them.",
            "Switch it on but for the paths of Windows callers (identity.windows.paths).",
        )


def _is_on(question: Question, kind: str, location: str, *, default: bool) -> bool:
    path = f"{AUTHENTICATION}/{kind}Authentication"
    if section(question.web, path, location) is not None or question.host is None:
        return is_on(question.web, path, location, default=default)
    return is_on(question.host, path, question.host_location(location), default=default)


def _forwarding(question: Question) -> Iterator[Finding]:
    facts = question.facts
    name = MODULE_SECTIONS.get(facts.front_door)
    module = section(question.web, f"system.webServer/{name}") if name else None
    if module is None:
        return
    by_default = "false" if facts.front_door == "httpplatform-1.2" else "true"
    forwards = module.get("forwardWindowsAuthToken", by_default).lower() == "true"
    if facts.takes_windows and not forwards:
        yield question.here(
            module,
            "error",
            "identity.windows is enabled, and forwardWindowsAuthToken is off: no token ever arrives.",
            'Set forwardWindowsAuthToken="true".',
        )
    if facts.front_door in {"httpplatform", "httpplatform-1.2"} and facts.takes_windows:
        is_blocked = blocks_in(question.web, TOKEN_HEADER)
        if facts.front_door == "httpplatform-1.2":
            yield question.here(
                module,
                "error",
                "HttpPlatformHandler 1.2 proves nothing about who sent a token; Windows callers can't be believed.",
                "Use the ASP.NET Core Module (front door `ancm`), or bearer tokens.",
            )
        elif not is_blocked:
            yield question.here(
                module,
                "error",
                "nothing takes a client's own X-IIS-WindowsAuthToken away: whoever guesses a handle is somebody else.",
                "Add the rewrite rule that `torchgate iis render` writes, or use the front door `ancm`.",
            )
