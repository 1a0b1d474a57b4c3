"""What `iis install` changes, one appcmd.exe command at a time, each with what it is now and how it is undone.

What is now is read from applicationHost.config, not from what appcmd prints. Source of the commands: iis.md 6.3 and
Microsoft's "Getting Started with AppCmd.exe". Not seen on Windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from torchgate.iis.fast_cgi import APPLICATIONS
from torchgate.iis.located import section
from torchgate.iis.plan import Plan
from torchgate.iis.xml_document import Element

_SITES = "system.applicationHost/sites"
_POOLS = "system.applicationHost/applicationPools"
Command = tuple[str, ...]


class Step(msgspec.Struct, frozen=True):
    """One change.

    Args:
        title: in words.
        wanted: what it shall be.
        now: reads what it is, or None where it is not there, from applicationHost.config.
        apply: the arguments of appcmd, given what was read before.
        undo: those that bring that back.
    """

    title: str
    wanted: str
    now: Callable[[Element], str | None]
    apply: Callable[[str | None], Command]
    undo: Callable[[str | None], Command]

    def is_done(self, host: Element) -> bool:
        """Whether it is as wanted; words of IIS are compared without regard to case."""
        found = self.now(host)
        return found is not None and found.lower() == self.wanted.lower()


def thing(title: str, now: Callable[[Element], Element | None], apply: Command, undo: Command) -> Step:
    """A step that makes something be there, whatever it is like."""
    return Step(title, "there", lambda host: None if now(host) is None else "there", lambda _: apply, lambda _: undo)


def pool_of(host: Element, name: str) -> Element | None:
    """An application pool."""
    pools = section(host, _POOLS)
    return next((one for one in pools.named("add") if one.get("name").lower() == name.lower()), None) if pools else None


def site_of(host: Element, name: str) -> Element | None:
    """A site."""
    sites = section(host, _SITES)
    return (
        next((one for one in sites.named("site") if one.get("name").lower() == name.lower()), None) if sites else None
    )


def application_of(host: Element, plan: Plan) -> Element | None:
    """The plan's application."""
    site, path = site_of(host, plan.site.name), plan.site.application.lower()
    return next((one for one in site.named("application") if one.get("path").lower() == path), None) if site else None


def pool_steps(plan: Plan, pool: Element) -> Iterator[Step]:
    """The application pool and all its values.

    Args:
        pool: as it shall be (host_config.pool).
    """
    name = plan.pool_name
    yield thing(
        f"application pool {name!r}",
        lambda host: pool_of(host, name),
        ("add", "apppool", f"/name:{name}"),
        ("delete", "apppool", name),
    )
    for path, value in _values(pool):
        if path != "name":
            yield _pool_value(name, path, value)
    variables = pool.first("environmentVariables")
    for variable in variables.named("add") if variables is not None else ():
        yield _pool_variable(name, variable)


def application_steps(plan: Plan) -> Iterator[Step]:
    """The application in its site, and the field of the log."""
    known = plan.location if plan.site.application != "/" else f"{plan.site.name}/"
    yield thing(
        f"application {known!r} in {plan.folder}",
        lambda host: application_of(host, plan),
        (
            "add",
            "app",
            f"/site.name:{plan.site.name}",
            f"/path:{plan.site.application}",
            f"/physicalPath:{plan.folder}",
        ),
        ("delete", "app", known),
    )
    attributes = (("applicationPool", plan.pool_name, "DefaultAppPool"), ("preloadEnabled", "true", "false"))
    for attribute, value, default in attributes:
        yield _value_step(
            f"its {attribute} is {value!r}",
            value,
            lambda host, attribute=attribute: _attribute(application_of(host, plan), attribute),  # type: ignore[misc]
            lambda text, attribute=attribute: ("set", "app", known, f"/{attribute}:{text}"),  # type: ignore[misc]
            default,
        )


def log_step(plan: Plan, field: str) -> Step:
    """The field of the site's log that joins its lines with our audit trail."""

    def now(host: Element) -> Element | None:
        site = site_of(host, plan.site.name)
        log = site.first("logFile") if site is not None else None
        fields = log.first("customFields") if log is not None else None
        return next((one for one in fields.named("add") if one.get("logFieldName") == field), None) if fields else None

    def command(sign: str, more: str) -> Command:
        item = f"[name='{plan.site.name}'].logFile.customFields.[logFieldName='{field}'{more}]"
        return ("set", "config", f"/section:{_SITES}", f"/{sign}{item}", "/commit:apphost")

    added = ",sourceName='X-Request-ID',sourceType='ResponseHeader'"
    return thing(f"log field {field!r} of site {plan.site.name!r}", now, command("+", added), command("-", ""))


def fast_cgi_steps(application: Element) -> Iterator[Step]:
    """The process that IIS starts for wfastcgi, and its limits.

    Args:
        application: as it shall be (fast_cgi.application).
    """
    keys = {name: application.get(name) for name in ("fullPath", "arguments")}
    key = ",".join(f"{name}='{value}'" for name, value in keys.items())

    def now(host: Element) -> Element | None:
        found = section(host, APPLICATIONS)
        known = found.named("application") if found is not None else ()
        return next((one for one in known if all(one.get(name) == value for name, value in keys.items())), None)

    def command(change: str) -> Command:
        return ("set", "config", f"/section:{APPLICATIONS}", change, "/commit:apphost")

    yield thing(f"FastCGI application {keys['fullPath']}", now, command(f"/+[{key}]"), command(f"/-[{key}]"))
    for name, value in application.attributes.items():
        if name not in keys:
            yield _value_step(
                f"its {name} is {value!r}",
                value,
                lambda host, name=name: _attribute(now(host), name),  # type: ignore[misc]
                lambda text, name=name: command(f"/[{key}].{name}:{text}"),  # type: ignore[misc]
                _FAST_CGI_DEFAULTS[name],
            )


def location_steps(location: Element) -> Iterator[Step]:
    """The values of one location, as host_config has it."""
    where = location.get("path")
    for server in location.named("system.webServer"):
        for child in server.children:
            yield from _section_steps(where, "system.webServer", child)


def _section_steps(where: str, path: str, element: Element) -> Iterator[Step]:
    path = f"{path}/{element.tag}"
    items = [child for child in element.children if child.tag == "add"]
    for name, value in element.attributes.items():
        yield _section_value(where, path, name, value)
    for item in items:
        yield _section_item(where, path, item)
    for child in element.children:
        if child.tag != "add":
            yield from _section_steps(where, path, child)


def _section_value(where: str, path: str, name: str, value: str) -> Step:
    def own(host: Element) -> str | None:
        return _attribute(_own_section(host, path, where), name)

    def undo(before: str | None) -> Command:
        if before is None:
            return ("clear", "config", where, f"/section:{path}", "/commit:apphost")
        return ("set", "config", where, f"/section:{path}", f"/{name}:{before}", "/commit:apphost")

    title = f"{path.rpartition('/')[2]} at {where!r}: {name} is {value!r}"
    apply = ("set", "config", where, f"/section:{path}", f"/{name}:{value}", "/commit:apphost")
    return Step(title, value, own, lambda _: apply, undo)


def _section_item(where: str, path: str, item: Element) -> Step:
    key, value = next(iter(item.attributes.items()))
    values = ",".join(f"{name}='{one}'" for name, one in item.attributes.items())

    def now(host: Element) -> Element | None:
        found = _own_section(host, path, where)
        return next((one for one in found.named("add") if one.get(key) == value), None) if found is not None else None

    def command(sign: str, inside: str) -> Command:
        return ("set", "config", where, f"/section:{path}", f"/{sign}[{inside}]", "/commit:apphost")

    title = f"{path.rpartition('/')[2]} at {where!r} has {value!r}"
    return thing(title, now, command("+", values), command("-", f"{key}='{value}'"))


def _own_section(host: Element, path: str, where: str) -> Element | None:
    """The section that stands in this very location, not what it inherits."""
    for location in host.named("location"):
        if location.get("path").lower() == where.lower():
            found = section(Element("configuration", {}, list(location.children), 0), path)
            if found is not None:
                return found
    return None


def _pool_value(name: str, path: str, value: str) -> Step:
    def now(host: Element) -> str | None:
        return _at(pool_of(host, name), path)

    return _value_step(
        f"its {path} is {value!r}",
        value,
        now,
        lambda text: ("set", "apppool", name, f"/{path}:{text}"),
        _DEFAULTS.get(path, ""),
    )


def _pool_variable(name: str, variable: Element) -> Step:
    key, value = variable.get("name"), variable.get("value")

    def now(host: Element) -> str | None:
        pool = pool_of(host, name)
        variables = pool.first("environmentVariables") if pool is not None else None
        found = (one for one in variables.named("add") if one.get("name") == key) if variables is not None else iter(())
        return next((one.get("value") for one in found), None)

    def command(change: str) -> Command:
        place = f"[name='{name}'].environmentVariables.[name='{key}'"
        return ("set", "config", f"/section:{_POOLS}", change.format(place), "/commit:apphost")

    def to(text: str | None, before: str | None) -> Command:
        if text is None:
            return command("/-{}]")
        return command(f"/+{{}},value='{text}']" if before is None else f"/{{}}].value:{text}")

    return Step(
        f"its environment has {key}", value, now, lambda before: to(value, before), lambda before: to(before, value)
    )


def _value_step(
    title: str, wanted: str, now: Callable[[Element], str | None], command: Callable[[str], Command], default: str
) -> Step:
    return Step(
        title, wanted, now, lambda _: command(wanted), lambda before: command(default if before is None else before)
    )


_FAST_CGI_DEFAULTS = {
    "activityTimeout": "70",
    "idleTimeout": "300",
    "instanceMaxRequests": "200",
    "maxInstances": "0",
    "requestTimeout": "90",
    "signalBeforeTerminateSeconds": "0",
    "stderrMode": "ReturnStdErrIn500",
}
_DEFAULTS = {
    "autoStart": "true",
    "enable32BitAppOnWin64": "false",
    "managedRuntimeVersion": "v4.0",
    "processModel.identityType": "ApplicationPoolIdentity",
    "processModel.idleTimeout": "00:20:00",
    "processModel.loadUserProfile": "true",
    "processModel.maxProcesses": "1",
    "processModel.setProfileEnvironment": "false",
    "recycling.disallowOverlappingRotation": "false",
    "recycling.periodicRestart.time": "1.05:00:00",
    "startMode": "OnDemand",
}
"""What an attribute is that nobody has set; source: IIS_schema.xml and the shipped applicationPoolDefaults."""


def _values(element: Element, path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in element.attributes.items():
        yield f"{path}{name}", value
    for child in element.children:
        if child.tag != "environmentVariables":
            yield from _values(child, f"{path}{child.tag}.")


def _at(element: Element | None, path: str) -> str | None:
    *elements, attribute = path.split(".")
    for name in elements:
        element = element.first(name) if element is not None else None
    return _attribute(element, attribute)


def _attribute(element: Element | None, name: str) -> str | None:
    return None if element is None else element.attributes.get(name)
