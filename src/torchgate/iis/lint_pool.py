"""Findings about application pool and site in applicationHost.config. Source: iis.md 6.2, 8, 9."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.contract.findings import Finding
from torchgate.iis.attribute_check import seconds_of
from torchgate.iis.facts import MODULES
from torchgate.iis.lint_processes import stop_s, web_garden_findings
from torchgate.iis.lint_question import Question
from torchgate.iis.lint_site_limits import site_limit_findings
from torchgate.iis.located import section
from torchgate.iis.xml_document import Element

_POOLS = "system.applicationHost/applicationPools"


def pool_findings(question: Question) -> Iterator[Finding]:
    """What is found about the application, its pool, its site and the modules of the server."""
    if question.host is None:
        return
    found = list(question.applications())
    if not found:
        said = (
            "no application"
            if question.site is None
            else f"no application {question.site.application!r} in site {question.site.name!r}"
        )
        yield question.above(None, "error", f"there is {said}.", "Name it by --site and --application.")
        return
    if len(found) > 1:
        names = ", ".join(f"{site.get('name')}{application.get('path')}" for site, application in found[:5])
        yield question.above(
            None, "info", f"it has {len(found)} applications ({names}); none is examined.", "Name one by --site."
        )
        return
    site, application = found[0]
    yield from _application(question, application)
    yield from _site(question, site)
    yield from site_limit_findings(question, site)
    yield from _modules(question)
    yield from _pool(question, application)


def _application(question: Question, application: Element) -> Iterator[Finding]:
    if application.get("preloadEnabled", "false").lower() != "true":
        yield question.above(
            application,
            "warning",
            "preloadEnabled is off: nothing warms up before the first caller.",
            'Set preloadEnabled="true".',
        )


def _site(question: Question, site: Element) -> Iterator[Finding]:
    log = site.first("logFile")
    fields = log.first("customFields") if log is not None else None
    names = {one.get("sourceName").lower() for one in fields.named("add")} if fields is not None else set()
    if "x-request-id" not in names:
        yield question.above(
            site,
            "info",
            "IIS's log does not keep X-Request-ID, so that its lines can't be joined with our audit trail.",
            "Add the response header X-Request-ID to logFile/customFields; render writes the command.",
        )


def _modules(question: Question) -> Iterator[Finding]:
    wanted = MODULES.get(question.facts.front_door)
    modules = section(question.host, "system.webServer/globalModules") if question.host is not None else None
    if (
        wanted
        and modules is not None
        and wanted.lower() not in {one.get("name").lower() for one in modules.named("add")}
    ):
        yield question.above(
            modules,
            "error",
            f"the module {wanted} is not installed on this server: IIS answers 500.19 or 500.21.",
            "Install the .NET Hosting Bundle (ancm) or HttpPlatformHandler v2, or change gate.front_door.",
        )


def _pool(question: Question, application: Element) -> Iterator[Finding]:
    pools = section(question.host, _POOLS) if question.host is not None else None
    if pools is None:
        return
    defaults = pools.first("applicationPoolDefaults")
    name = application.get("applicationPool", "DefaultAppPool")
    pool = next((one for one in pools.named("add") if one.get("name").lower() == name.lower()), None)
    if pool is None:
        yield question.above(application, "error", f"its application pool {name!r} does not exist.")
        return
    read = _PoolReading(pool, defaults)
    yield from _pool_start(question, read)
    yield from _pool_process(question, read)


class _PoolReading:
    """A pool's values, its own first, then those of applicationPoolDefaults.

    Args:
        pool: its element.
        defaults: of all pools, or None.
    """

    def __init__(self, pool: Element, defaults: Element | None) -> None:
        self.pool = pool
        self._places = [one for one in (pool, defaults) if one is not None]

    def get(self, path: str, default: str) -> str:
        """The value at `attribute` or `element/attribute`."""
        *elements, attribute = path.split("/")
        for place in self._places:
            found: Element | None = place
            for name in elements:
                found = found.first(name) if found is not None else None
            if found is not None and attribute in found.attributes:
                return found.attributes[attribute]
        return default

    def is_true(self, path: str, *, default: bool = False) -> bool:
        """Whether the value says true."""
        return self.get(path, str(default)).lower() == "true"

    def seconds(self, path: str, default: str) -> float:
        """The seconds of a time; 0 where it is none."""
        return seconds_of(self.get(path, default)) or 0.0


def _pool_start(question: Question, read: _PoolReading) -> Iterator[Finding]:
    pool = read.pool
    if read.get("startMode", "OnDemand").lower() != "alwaysrunning":
        yield question.above(
            pool,
            "warning",
            "startMode is not AlwaysRunning: after a restart of the machine nothing runs before the first caller.",
            'Set startMode="AlwaysRunning".',
        )
    idle_s = read.seconds("processModel/idleTimeout", "00:20:00")
    if idle_s:
        yield question.above(
            pool,
            "warning",
            f"idleTimeout ends the server after {idle_s / 60:g} quiet minutes, and the models with it.",
            'Set <processModel idleTimeout="00:00:00"/>.',
        )
    period_s = read.seconds("recycling/periodicRestart/time", "29:00:00")
    if period_s:
        yield question.above(
            pool,
            "warning",
            f"periodicRestart ends the server every {period_s / 3600:g} h, at another hour each time.",
            'Set <periodicRestart time="00:00:00"/>, or a schedule at a quiet hour.',
        )
    if read.get("managedRuntimeVersion", "v4.0"):
        yield question.above(
            pool, "info", "the pool loads .NET, which nothing here needs.", 'Set managedRuntimeVersion="".'
        )
    shutdown_s = read.seconds("processModel/shutdownTimeLimit", "00:01:30")
    if shutdown_s < (needed_s := stop_s(question)):
        yield question.above(
            pool,
            "warning",
            f"shutdownTimeLimit of the pool is {shutdown_s:g} s; a stopping server needs {needed_s:g} s.",
            "Raise it.",
        )
    memory = read.get("recycling/periodicRestart/privateMemory", "0")
    if memory not in {"", "0"}:
        yield question.above(
            pool,
            "info",
            "privateMemory counts IIS's own process alone, never ours or a worker's.",
            "Use engine.memory_bytes and [resources] of the models.",
        )


def _pool_process(question: Question, read: _PoolReading) -> Iterator[Finding]:
    pool = read.pool
    copies = read.get("processModel/maxProcesses", "1")
    if copies != "1":
        yield from web_garden_findings(question, pool, copies)
    if read.is_true("enable32BitAppOnWin64"):
        yield question.above(
            pool,
            "error",
            "enable32BitAppOnWin64 is on, and there is no PyTorch for 32 bits.",
            'Set enable32BitAppOnWin64="false".',
        )
    if not read.is_true("processModel/setProfileEnvironment") or not read.is_true("processModel/loadUserProfile"):
        yield question.above(
            pool,
            "warning",
            "the pool's identity has no profile of its own in its environment: caches of torch and others go to "
            "C:\\Windows\\System32\\config\\systemprofile, and are refused.",
            'Set <processModel loadUserProfile="true" setProfileEnvironment="true"/>, or name folders in the '
            "pool's environment.",
        )
    if read.get("processModel/identityType", "ApplicationPoolIdentity").lower() in {"localsystem", "0"}:
        yield question.above(
            pool,
            "error",
            "the pool runs as LocalSystem, so that a mistake in a model is a mistake of the whole machine.",
            "Use ApplicationPoolIdentity or a group managed service account.",
        )
    if not question.facts.has_own_pool and not read.is_true("recycling/disallowOverlappingRotation"):
        yield question.above(
            pool,
            "info",
            "while the pool is recycled two servers hold the models: they need twice the memory, on the GPU too.",
            "Run the models by `torchgate pool`, or set disallowOverlappingRotation and accept the pause.",
        )
    limit, action = read.get("cpu/limit", "0"), read.get("cpu/action", "NoAction").lower()
    if limit not in {"", "0"} and action != "noaction":
        yield question.above(
            pool,
            "warning",
            f"the pool's cpu limit ({action}) holds for our workers, too, and slows or ends them.",
            "Leave it off; use [resources] of the models.",
        )
