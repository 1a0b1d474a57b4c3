"""What IIS reads of an application: its web.config, and its part of applicationHost.config. No reader of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.rigs.iis_module.variants import VARIANTS, Variant

_HIDDEN = frozenset(
    {
        "web.config", "bin", "app_code", "app_globalresources", "app_localresources", "app_webreferences", "app_data",
        "app_browsers",
    }
)  # fmt: skip
_SHOWN = "security/requestFiltering/hiddenSegments/remove"


class ConfigurationRefused(Exception):
    """IIS answers 500.19 to everything."""


@dataclass(frozen=True)
class Access:
    """Who may come, at one place.

    Args:
        anonymous, windows, basic: kinds of authentication.
        addresses: that are allowed; None: all.
        ssl_flags: in lower case; `ssl` keeps plain http out, `sslnegotiatecert` asks for a client's certificate.
    """

    anonymous: bool = True
    windows: bool = False
    basic: bool = False
    addresses: frozenset[str] | None = None
    ssl_flags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Application:
    """One application of a site, as configured.

    Args:
        folder: its physical path, where web.config is.
        virtual_path: `/` or `/models`.
        variant: the module that its handler names.
        process_path, arguments: not yet expanded.
        variables: of the process, not yet expanded.
        pool_variables: of the pool, which the process inherits.
        startup_limit_s, request_timeout_s, shutdown_limit_s, rapid_fails_per_minute, start_attempts: the module's.
        processes: how many of them share the work.
        forwards_windows_tokens: the module hands over handles.
        overlaps: a recycle starts the new process before it ends the old one.
        warm_up_paths: what Application Initialization asks, below the application.
        max_content_bytes: of a request.
        hidden_segments: of a path, in lower case: 404.8.
        blanked: header names that a rewrite rule empties, in lower case.
        access: what a place says of it, by path below the application, in lower case; "" is all of it.
    """

    folder: Path
    virtual_path: str
    variant: Variant
    process_path: str
    arguments: str
    variables: Mapping[str, str]
    pool_variables: Mapping[str, str]
    startup_limit_s: float
    request_timeout_s: float
    shutdown_limit_s: float
    rapid_fails_per_minute: int
    start_attempts: int
    processes: int
    forwards_windows_tokens: bool
    overlaps: bool
    warm_up_paths: tuple[str, ...]
    max_content_bytes: int
    hidden_segments: frozenset[str] = _HIDDEN
    blanked: frozenset[str] = frozenset()
    access: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def access_at(self, path: str) -> Access:
        """Who may come at a path below the application; of each thing the nearest place that says it wins."""
        segments = [one for one in path.lower().split("/") if one]
        places = ("/".join(segments[:count]) for count in range(len(segments) + 1))
        said: dict[str, Any] = {}
        for place in places:
            said |= self.access.get(place, {})
        return Access(**said)


def read_application(folder: Path, door: str | None = None) -> Application:
    """The application whose web.config and applicationHost.part.config are in a folder.

    Args:
        door: of the two versions of HttpPlatformHandler, which one is installed; None: the newer.

    Raises:
        ConfigurationRefused: IIS would take it for none.
    """
    server = _server(_parsed(folder / "web.config"))
    host = _parsed(folder / "applicationHost.part.config")
    variant = _variant(server, door)
    section = _one(server, variant.section)
    if foreign := set(section.attrib) - variant.attributes:
        raise ConfigurationRefused(f"{variant.section} has no attributes {sorted(foreign)}")
    if variant.name == "ancm" and section.get("hostingModel", "").lower() not in {"", "outofprocess"}:
        raise ConfigurationRefused("a process of its own needs hostingModel outofprocess")
    site, application, pool = (_one(host, f".//{tag}") for tag in ("site", "application", "applicationPools/add"))
    virtual_path = application.get("path", "/")
    location = "/".join(part for part in (site.get("name", ""), virtual_path.strip("/")) if part)
    limits = server.find("security/requestFiltering/requestLimits")
    initialization = server.find("applicationInitialization")
    recycling = pool.find("recycling")
    return Application(
        folder=folder,
        virtual_path=virtual_path,
        variant=variant,
        process_path=section.get("processPath", ""),
        arguments=section.get("arguments", ""),
        variables=_pairs(section.iterfind("environmentVariables/environmentVariable")),
        pool_variables=_pairs(pool.iterfind("environmentVariables/add")),
        startup_limit_s=float(section.get("startupTimeLimit", variant.startup_limit_s)),
        request_timeout_s=_seconds(section.get("requestTimeout", "00:02:00")),
        shutdown_limit_s=float(section.get("shutdownTimeLimit", 10)),
        rapid_fails_per_minute=int(section.get("rapidFailsPerMinute", 10)),
        start_attempts=int(section.get("startupRetryCount", variant.start_attempts)),
        processes=_processes(section),
        forwards_windows_tokens=_is_true(section.get("forwardWindowsAuthToken"), default=variant.has_pairing),
        overlaps=recycling is None or not _is_true(recycling.get("disallowOverlappingRotation")),
        warm_up_paths=tuple(_warm_up_paths(initialization, application)),
        max_content_bytes=int("30000000" if limits is None else limits.get("maxAllowedContentLength", "30000000")),
        hidden_segments=_HIDDEN - {one.get("segment", "").lower() for one in server.iterfind(_SHOWN)},
        blanked=frozenset(_blanked(server, host, location)),
        access=_access(host, location),
    )  # fmt: skip


def _parsed(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(file).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ConfigurationRefused(f"{file.name}: {error}") from None


def _server(root: ElementTree.Element) -> ElementTree.Element:
    for place in (root, *(one for one in root.iterfind("location") if one.get("path", "") in {"", "."})):
        if (server := place.find("system.webServer")) is not None:
            return server
    raise ConfigurationRefused("web.config has no system.webServer")


def _variant(server: ElementTree.Element, door: str | None) -> Variant:
    modules = {one.get("modules", "") for one in server.iterfind("handlers/add") if one.get("path") == "*"}
    if door is not None and {VARIANTS[door].module} == modules:
        return VARIANTS[door]
    for variant in VARIANTS.values():
        if {variant.module} == modules and door is None:
            return variant
    raise ConfigurationRefused(f"the handlers name {sorted(modules)}; that module is not installed")


def _one(place: ElementTree.Element, path: str) -> ElementTree.Element:
    found = place.findall(path)
    if len(found) != 1:
        raise ConfigurationRefused(f"there are {len(found)} {path}")
    return found[0]


def _pairs(elements: Iterator[ElementTree.Element]) -> dict[str, str]:
    return {one.get("name", ""): one.get("value", "") for one in elements}


def _processes(section: ElementTree.Element) -> int:
    count = int(section.get("processesPerApplication", "1"))
    if not 1 <= count <= 100:
        raise ConfigurationRefused(f"processesPerApplication is {count}, and takes 1 to 100")
    return count


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})", text)
    if found is None or int(found[3]) > 59 or int(found[4]) > 59:
        raise ConfigurationRefused(f"{text!r} is no time span")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _is_true(text: str | None, *, default: bool = False) -> bool:
    if text not in {None, "true", "false"}:
        raise ConfigurationRefused(f"{text!r} is neither true nor false")
    return default if text is None else text == "true"


def _warm_up_paths(initialization: ElementTree.Element | None, application: ElementTree.Element) -> Iterator[str]:
    if initialization is None or not _is_true(application.get("preloadEnabled")):
        return
    for one in initialization.iterfind("add"):
        yield one.get("initializationPage", "/")


def _blanked(server: ElementTree.Element, host: ElementTree.Element, location: str) -> Iterator[str]:
    """Rules that a distributed web.config may have, for variables that applicationHost.config allows."""
    allowed = {
        one.get("name", "")
        for place in host.iterfind("location")
        if place.get("path", "").lower() == location.lower()
        for one in place.iterfind("system.webServer/rewrite/allowedServerVariables/add")
    }
    for variable in server.iterfind("rewrite/rules/rule/serverVariables/set"):
        name = variable.get("name", "")
        if name not in allowed:
            raise ConfigurationRefused(f"500.50: the server variable {name} is not allowed to be set")
        if variable.get("value") == "" and name.startswith("HTTP_"):
            yield name.removeprefix("HTTP_").replace("_", "-").lower()


def _access(host: ElementTree.Element, location: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for place in host.iterfind("location"):
        path = place.get("path", "").lower()
        security = place.find("system.webServer/security")
        if security is None or not f"{path}/".startswith(f"{location.lower()}/"):
            continue
        found[path[len(location) :].strip("/")] = dict(_said(security))
    return found


def _said(security: ElementTree.Element) -> Iterator[tuple[str, Any]]:
    for kind in ("anonymous", "windows", "basic"):
        if (one := security.find(f"authentication/{kind}Authentication")) is not None:
            yield kind, _is_true(one.get("enabled"))
    if (access := security.find("access")) is not None:
        yield "ssl_flags", frozenset(flag.strip().lower() for flag in access.get("sslFlags", "None").split(","))
    if (addresses := security.find("ipSecurity")) is not None:
        listed = (one.get("ipAddress", "") for one in addresses.iterfind("add") if _is_true(one.get("allowed")))
        yield "addresses", None if _is_true(addresses.get("allowUnlisted"), default=True) else frozenset(listed)
