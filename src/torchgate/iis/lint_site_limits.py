"""Findings about what http.sys allows a site's connections, in applicationHost.config. Source: iis.md 6.2, 9."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.contract.findings import Finding
from torchgate.iis.attribute_check import seconds_of
from torchgate.iis.lint_module import time_text
from torchgate.iis.lint_question import Question
from torchgate.iis.located import section
from torchgate.iis.xml_document import Element

_USUAL_BYTES_PER_S = 240  # http.sys's own: whoever reads an answer more slowly is cut off


def site_limit_findings(question: Question, site: Element) -> Iterator[Finding]:
    """Times and speeds below ours, so that http.sys cuts a connection before we can answer."""
    if question.host is None:
        return
    sites = section(question.host, "system.applicationHost/sites")
    defaults = sites.first("siteDefaults") if sites is not None else None
    web_limits = section(question.host, "system.applicationHost/webLimits")
    limits = [one.first("limits") for one in (site, defaults) if one is not None]
    said = (place for place in [*limits, web_limits] if place is not None and place.get("connectionTimeout"))
    yield from _connection(question, next(said, site))
    if web_limits is not None:
        yield from _speed(question, web_limits)


def _connection(question: Question, place: Element) -> Iterator[Finding]:
    seconds = seconds_of(place.get("connectionTimeout", "00:02:00"))
    body_s = question.facts.body_timeout_s
    if seconds is not None and 0 < seconds < body_s:
        yield question.above(
            place,
            "warning",
            f"connectionTimeout is {seconds:g} s, and a body may take {body_s:g} s (gate.body_timeout_s): http.sys "
            "cuts slow uploads, and requests that wait for a process that starts, without an answer of ours.",
            f'Set connectionTimeout="{time_text(max(body_s, 120))}", or lower gate.body_timeout_s.',
        )


def _speed(question: Question, web_limits: Element) -> Iterator[Finding]:
    speed = web_limits.get("minBytesPerSecond")
    if speed.isdecimal() and int(speed) > _USUAL_BYTES_PER_S:
        yield question.above(
            web_limits,
            "warning",
            f"minBytesPerSecond is {int(speed):,}: whoever reads a large answer more slowly is cut off in its middle.",
            f'Set minBytesPerSecond="{_USUAL_BYTES_PER_S}", as IIS has it.',
        )
