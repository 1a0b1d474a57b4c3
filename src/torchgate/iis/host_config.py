"""What belongs into applicationHost.config: pool, application, log, and who is authenticated where.

Source: iis.md 5, 6.2, 7, 8.
"""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.iis.facts import TOKEN_VARIABLE, WARM_UP_PATH
from torchgate.iis.fast_cgi import application, is_fast_cgi
from torchgate.iis.plan import Plan
from torchgate.iis.xml_document import Element
from torchgate.iis.xml_text import element, xml_text

LOG_FIELD = "x-request-id"
_ASKED = "Ssl,SslNegotiateCert"
"""IIS asks clients for a certificate, and takes none for an answer, too."""
_NOT_ASKED = "Ssl"

_COMMENT = """Written by `torchgate iis render` from torchgate.toml: what applicationHost.config needs
for this application.
`torchgate iis install` makes these changes step by step; this file is for those who review or merge them.
The site's id is that of your server; 1 is the Default Web Site."""


def host_config(plan: Plan) -> str:
    """The text of the part."""
    root = element(
        "configuration",
        element("system.applicationHost", element("applicationPools", pool(plan)), element("sites", _site(plan))),
        *([element("system.webServer", element("fastCgi", application(plan)))] if is_fast_cgi(plan) else []),
        *locations(plan),
    )
    return xml_text(root, _COMMENT)


def pool(plan: Plan) -> Element:
    """The application pool: always running, never idle, one process, no .NET, with a profile of its own."""
    variables = [element("add", name=name, value=value) for name, value in sorted(plan.environment.items())]
    return element(
        "add",
        element(
            "processModel",
            identityType="ApplicationPoolIdentity",
            idleTimeout="00:00:00",
            maxProcesses=1,
            loadUserProfile=True,
            setProfileEnvironment=True,
        ),
        element(
            "recycling",
            element("periodicRestart", time="00:00:00"),
            # Two servers at once would hold the models twice; a gate holds none.
            disallowOverlappingRotation=plan.command == "serve",
        ),
        *([element("environmentVariables", *variables)] if variables else []),
        name=plan.pool_name,
        autoStart=True,
        startMode="AlwaysRunning",
        managedRuntimeVersion="",
        enable32BitAppOnWin64=False,
    )


def locations(plan: Plan) -> Iterator[Element]:
    """Who is authenticated where; the nearest location wins."""
    if plan.facts.front_door in {"httpplatform", "httpplatform-1.2"}:
        variables = element("allowedServerVariables", element("add", name=TOKEN_VARIABLE))
        yield _location(plan.location, element("rewrite", variables))
    certificates = _certificate_paths(plan)
    is_asked = "" in certificates
    yield _location(plan.location, _security(_ASKED if is_asked else "", is_windows=plan.layout == "windows"))
    if plan.layout == "split":
        for path in (one.strip("/") for one in plan.facts.windows_paths):
            # Who comes by Windows has one proof already; two of them would be refused.
            flags = _ASKED if path in certificates else _NOT_ASKED if is_asked else ""
            yield _location(f"{plan.location}/{path}", _security(flags, is_windows=True))
            certificates.discard(path)
    for path in sorted(certificates - {""}):
        yield _location(f"{plan.location}/{path}", element("security", element("access", sslFlags=_ASKED)))
    yield _location(f"{plan.location}/{WARM_UP_PATH}", _warm_up_security())


def _certificate_paths(plan: Plan) -> set[str]:
    """Of the modules, ASP.NET Core Module alone hands certificates on."""
    return {path.strip("/") for path in plan.facts.certificate_paths} if plan.facts.front_door == "ancm" else set()


def _site(plan: Plan) -> Element:
    field = element("add", logFieldName=LOG_FIELD, sourceName="X-Request-ID", sourceType="ResponseHeader")
    directory = element("virtualDirectory", path="/", physicalPath=plan.folder)
    return element(
        "site",
        element(
            "application",
            directory,
            path=plan.site.application,
            applicationPool=plan.pool_name,
            preloadEnabled=True,
        ),
        element("logFile", element("customFields", field)),
        name=plan.site.name,
        id=1,
    )


def _security(ssl_flags: str, *, is_windows: bool) -> Element:
    access = [element("access", sslFlags=ssl_flags)] if ssl_flags else []
    return element("security", *access, _authentication(is_windows=is_windows))


def _warm_up_security() -> Element:
    """IIS's own request comes from this machine, by plain http, and has no credential."""
    addresses = [element("add", ipAddress=address, allowed=True) for address in ("127.0.0.1", "::1")]
    return element(
        "security",
        element("access", sslFlags="None"),
        _authentication(is_windows=False),
        element("ipSecurity", *addresses, allowUnlisted=False),
    )


def _authentication(*, is_windows: bool) -> Element:
    return element(
        "authentication",
        element("anonymousAuthentication", enabled=not is_windows),
        element("basicAuthentication", enabled=False),
        element("windowsAuthentication", enabled=is_windows),
    )


def _location(path: str, inner: Element) -> Element:
    return element("location", element("system.webServer", inner), path=path)
