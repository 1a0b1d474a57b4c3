"""IIS: its configuration, its module, and what its events tell. Not seen on a real IIS yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from torchgate.contract.diagnosis import Diagnosis, amber, ok, red, skipped
from torchgate.contract.findings import Finding
from torchgate.doctor.places import reason
from torchgate.doctor.project_checks import of_finding
from torchgate.doctor.world import World
from torchgate.iis.config_schema import Sections, read_schemas
from torchgate.iis.event_findings import PROVIDERS, WITHIN_S, event_findings
from torchgate.iis.facts import MODULES
from torchgate.iis.installed_module import expanded, module_in_host, module_schema
from torchgate.iis.lint import lint
from torchgate.iis.lint_fast_cgi import fast_cgi_findings
from torchgate.iis.lint_question import Question, Site
from torchgate.iis.located import section
from torchgate.iis.xml_document import Element, XmlMistake, read_xml
from torchgate.iis_commands import WEB_CONFIG, facts_of

_HTTP_PARAMETERS = r"SYSTEM\CurrentControlSet\Services\HTTP\Parameters"
_HTTP_DEFAULT_BYTES = 16384
"""Of MaxFieldLength and MaxRequestBytes. Source: iis.md 6.1, KB 2020943."""
_HTTP_WANTED_BYTES = 65534
_ONCE_AS_ADMINISTRATOR = "Run `torchgate doctor` once as an administrator, too."


def web_config(world: World) -> Iterator[Diagnosis]:
    """All that `torchgate iis lint` finds in the project's web.config and the server's applicationHost.config."""
    file = web_config_file(world)
    if file is None:
        verdict = red if world.is_behind_iis and world.is_windows else None
        seen = f"there is no {WEB_CONFIG} in {world.folder} or its folder iis."
        if verdict is None:
            yield skipped(seen)
        else:
            yield verdict(seen, "the file by which IIS starts the server", "`torchgate iis render` writes it.")
        return
    above = host_file(world)
    host = host_configuration(world)
    site = site_of(host, file.parent, world) if isinstance(host, Element) else None
    findings = lint(
        file,
        above if site is not None else None,
        site=site,
        facts=facts_of(world.settings),
        schemas=_schemas(world),
    )
    fast_cgi = set(wfastcgi_findings(world, file, host))  # told by their own check
    for finding in findings:
        if finding not in fast_cgi:
            yield of_finding(finding)
    if not any(finding.severity != "info" for finding in findings):
        yield ok("`torchgate iis lint` finds nothing amiss.", place=str(file))
    if world.is_windows and site is None:
        yield skipped(f"no application of this IIS has the folder {file.parent}, as far as this account can see.")


def wfastcgi_findings(world: World, file: Path, host: Element | str) -> tuple[Finding, ...]:
    """Those of `torchgate iis lint` about wfastcgi."""
    try:
        web = read_xml(file)
    except (XmlMistake, OSError):
        return ()  # that is told already
    above = host if isinstance(host, Element) else None
    site = None if above is None else site_of(above, file.parent, world)
    place = "" if above is None else str(host_file(world))
    return tuple(fast_cgi_findings(Question(web, str(file), above, place, facts_of(world.settings), site)))


def module(world: World) -> Iterator[Diagnosis]:
    """The module that starts the server: its DLL, version and schema."""
    door = world.settings.gate.front_door
    if door not in MODULES:
        yield skipped(f'gate.front_door = "{door}" needs no module of IIS.')
        return
    if not world.is_windows:
        yield skipped("IIS is on Windows alone.")
        return
    yield from module_schema(door, _inetsrv(world) / "config" / "schema")
    host = host_configuration(world)
    if isinstance(host, Element):
        yield from module_in_host(door, host, world.environment, world.machine.file_version)
    else:
        yield skipped(f"applicationHost.config can't be read: {host}. {_ONCE_AS_ADMINISTRATOR}")


def events(world: World) -> Iterator[Diagnosis]:
    """Events of the last seven days of IIS's modules, its process manager, crashes of Python, and graphics."""
    if not world.is_windows:
        yield skipped("Windows alone has an event log.")
        return
    try:
        texts = world.machine.events(PROVIDERS, WITHIN_S)
    except (OSError, TimeoutError) as error:
        yield skipped(f"the event log can't be read: {reason(error)}. {_ONCE_AS_ADMINISTRATOR}")
        return
    found = list(event_findings(texts))
    yield from found
    if not found:
        yield ok("no event of the last 7 days speaks of trouble.")


def request_heads(world: World) -> Iterator[Diagnosis]:
    """How long a request's head http.sys takes: Kerberos tickets of people in many groups are long."""
    if not world.is_windows:
        yield skipped("http.sys is on Windows alone.")
        return
    if not (world.is_behind_iis or world.settings.gate.front_door == "arr"):
        yield skipped("nothing of IIS is before this server.")
        return
    sizes = {}
    for name in ("MaxFieldLength", "MaxRequestBytes"):
        value = world.machine.registry_value(_HTTP_PARAMETERS, name)
        sizes[name] = value if isinstance(value, int) else _HTTP_DEFAULT_BYTES
    seen = f"{', '.join(f'{name} is {size}' for name, size in sizes.items())} bytes."
    if world.settings.identity.windows.enabled and min(sizes.values()) < _HTTP_WANTED_BYTES:
        remedy = "Set both in the registry and restart the HTTP service; people in many groups get 400 else."
        yield amber(seen, f"{_HTTP_WANTED_BYTES}", remedy, place=_HTTP_PARAMETERS)
    else:
        yield ok(seen, place=_HTTP_PARAMETERS)


def web_config_file(world: World) -> Path | None:
    """The application's own, or None: where `iis render` writes it, or in the project."""
    folders = (world.folder / "iis", world.folder)
    return next((folder / WEB_CONFIG for folder in folders if (folder / WEB_CONFIG).is_file()), None)


def _inetsrv(world: World) -> Path:
    return Path(expanded("%SYSTEMROOT%", world.environment)) / "System32" / "inetsrv"


def host_file(world: World) -> Path:
    """Where the server's configuration lies."""
    return _inetsrv(world) / "config" / "applicationHost.config"


def host_configuration(world: World) -> Element | str:
    """The server's configuration, or why it can't be read: mostly, because only administrators may."""
    if not world.is_windows:
        return "IIS is on Windows alone"
    try:
        return read_xml(host_file(world))
    except XmlMistake as mistake:
        return str(mistake)
    except OSError as error:
        return reason(error)


def _schemas(world: World) -> Sections | None:
    if not world.is_windows:
        return None
    try:
        return read_schemas(_inetsrv(world) / "config" / "schema")
    except (OSError, XmlMistake):
        return None  # the check of the module says so


def site_of(host: Element, folder: Path, world: World) -> Site | None:
    """The application of this server whose folder it is."""
    sites = section(host, "system.applicationHost/sites")
    wanted = _plain(str(folder))
    for site in sites.named("site") if sites is not None else ():
        for application in site.named("application"):
            if wanted in _folders_of(application, world):
                return Site(site.get("name"), application.get("path"))
    return None


def _folders_of(application: Element, world: World) -> Iterator[str]:
    """Where the root of an application lies."""
    for directory in application.named("virtualDirectory"):
        if directory.get("path") == "/":
            yield _plain(expanded(directory.get("physicalPath"), world.environment))


def _plain(path: str) -> str:
    return str(PureWindowsPath(path)).rstrip("\\").lower()
