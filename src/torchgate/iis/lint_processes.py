"""Findings about how many processes IIS starts for one application, and about the module that ends them unasked.

Source: iis.md 1.2, 1.8; ASP.NET Core Module V2, `PROCESS_MANAGER::GetProcess` (in turn, each started by the first
request whose turn it is) and `ShutdownAllProcessesNoLock` (one after the other).
"""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.contract.findings import Finding, Severity
from torchgate.iis.facts import MODULE_SECTIONS, POOL_GATES
from torchgate.iis.lint_question import Question
from torchgate.iis.located import sections
from torchgate.iis.xml_document import Element


def processes_findings(question: Question) -> Iterator[Finding]:
    """What is found in the module's own section."""
    for module in _modules(question):
        copies = _number(module.get("processesPerApplication", "1"))
        if copies > 1 and question.facts.has_own_pool:
            yield from _gates(question, module, copies)
        elif copies > 1:
            yield question.here(
                module,
                "error",
                f"processesPerApplication is {copies}: each process would hold its own models and count its own "
                "quotas, and IIS's warm-up request reaches one of them alone.",
                "Leave it out; the engine has replicas and batches of its own.",
            )
        if question.facts.front_door == "httpplatform-1.2":
            yield question.here(
                module,
                "warning",
                "HttpPlatformHandler 1.2 ends its process without asking it: at each recycle IIS answers 502.3 to the "
                "requests that run, and who sent them can't know whether they did.",
                'Install HttpPlatformHandler v2 (gate.front_door = "httpplatform") or the .NET Hosting Bundle '
                '("ancm"): these ask for the end, and what runs is answered.',
            )


def web_garden_findings(question: Question, pool: Element, copies: str) -> Iterator[Finding]:
    """What is found in a pool that has several worker processes, or one for each NUMA node (0)."""
    several = "one process for each NUMA node" if copies == "0" else f"{copies} processes"
    if question.facts.has_own_pool:
        yield question.above(
            pool,
            "warning",
            f"the pool is a web garden of {several}: each starts gates of its own, with their own connections "
            "and audit chains. Models and quotas are those of `torchgate pool`.",
            'Set <processModel maxProcesses="1"/>, unless one gate is not enough.',
        )
        return
    yield question.above(
        pool,
        "error",
        f"the pool is a web garden of {several}: each would load all models and count its own quotas.",
        'Set <processModel maxProcesses="1"/>, or run the models by `torchgate pool`.',
    )


def stop_s(question: Question) -> float:
    """What the module may need to end all processes of the application, in seconds: it asks one after the other."""
    copies = (_number(one.get("processesPerApplication", "1")) for one in _modules(question))
    return max(copies, default=1) * (question.facts.drain_s + 2)


def _gates(question: Question, module: Element, copies: int) -> Iterator[Finding]:
    severity: Severity = "error" if copies > POOL_GATES else "warning" if 2 * copies > POOL_GATES else "info"
    said = (
        f" A pool takes {POOL_GATES} gates, and a recycle that overlaps has twice as many for a while."
        if severity != "info"
        else ""
    )
    yield question.here(
        module,
        severity,
        f"processesPerApplication is {copies}: so many gates share one pool, its models and its quotas. Each has "
        "connections and an audit chain of its own; IIS warms up the first, and a caller waits for each other one's "
        f"start.{said}",
        "Leave it out, unless one gate is not enough.",
    )


def _modules(question: Question) -> Iterator[Element]:
    for name in dict.fromkeys(MODULE_SECTIONS.values()):
        for place in sections(question.web, f"system.webServer/{name}"):
            yield place.element


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 1
