"""Whether the configured front door fits its settings and what IIS's modules left in the environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from torchgate.contract.findings import Finding
from torchgate.gate.declarations import FRONT_DOORS, FrontDoorDeclaration, FrontDoorName
from torchgate.gate.marked_paths import MarkedPaths
from torchgate.gate.settings import GateSettings, is_unix
from torchgate.gate.unix_socket import unix_socket_mistake

_DOOR = "gate.front_door"
_WINDOWS = "identity.windows"
_LEFT_BEHIND: Mapping[str, tuple[FrontDoorName, str]] = {
    "ASPNETCORE_TOKEN": ("ancm", "ASP.NET Core Module"),
    "ASPNETCORE_PORT": ("ancm", "ASP.NET Core Module"),
    "HTTP_PLATFORM_TOKEN": ("httpplatform", "HttpPlatformHandler v2"),
    "HTTP_PLATFORM_PORT": ("httpplatform-1.2", "HttpPlatformHandler"),
    "_FCGI_X_PIPE_": ("fastcgi", "FastCGI"),
}
"""Variable → the front door that its module is, and the module's name; the first that is there decides."""


_HEADERS_COUNT = frozenset(
    door.name for door in FRONT_DOORS.values() if door.proof not in {"own socket", "inherited pipe", "none"}
)
"""Front doors whose proof is in a request's headers."""


class WindowsUse(msgspec.Struct, frozen=True):
    """How Windows tokens are to be believed.

    Args:
        is_enabled: they are.
        paths: marked ones.
        client_tokens_blocked: web.config beside us blocks the client's own copy of the token header; None: no
            web.config was found.
    """

    is_enabled: bool = False
    paths: MarkedPaths = MarkedPaths()
    client_tokens_blocked: bool | None = None


def door_setting_checks(settings: GateSettings) -> Iterator[Finding]:
    """What the settings have wrong by themselves, wherever they are read."""
    declaration = FRONT_DOORS[settings.front_door]
    if is_unix(settings.bind):
        if mistake := unix_socket_mistake(settings.bind.removeprefix("unix:")):
            yield Finding("error", f"{mistake}.", setting="gate.bind")
        if settings.front_door != "proxy":
            yield Finding(
                "error",
                f"a unix socket is for a proxy on this machine, and the front door is {settings.front_door!r}.",
                setting="gate.bind",
                remedy='Set gate.front_door = "proxy", or bind an address and a port.',
            )
    if settings.front_door == "proxy":
        yield from _proxy(settings)
    elif settings.proxy.headers() or settings.proxy.peers or settings.proxy.certificates:
        yield Finding(
            "error",
            f"these settings are for front door 'proxy', and it is {settings.front_door!r}.",
            setting="gate.proxy",
            remedy='Set gate.front_door = "proxy", or take them out.',
        )
    if declaration.proof == "none":
        yield Finding(
            "info",
            f"front door {settings.front_door!r} can prove nothing: only bearer tokens and API keys count.",
            setting=_DOOR,
        )
    for place, host in enumerate(settings.hosts):
        if "*" in host or host in {".", "0.0.0.0", "[::]", "::"}:  # noqa: S104 - refused, not bound
            yield Finding(
                "error",
                f"{host!r} stands for any name, and then a page of another name could call this server.",
                setting=f"gate.hosts.{place}",
                remedy="List each name by which people and programs call this server.",
            )


def door_start_checks(settings: GateSettings, environment: Mapping[str, str], windows: WindowsUse) -> Iterator[Finding]:
    """What keeps a server from starting here and now, in the environment that it was started with."""
    present = {name.upper(): value for name, value in environment.items()}
    declaration = FRONT_DOORS[settings.front_door]
    yield from _another_module(declaration, present)
    yield from _missing(declaration, present)
    if windows.is_enabled and declaration.token_header:
        yield from _windows(declaration, present, windows)


def listener_checks(settings: GateSettings) -> Iterator[Finding]:
    """What keeps a process from listening: its front door calls it otherwise."""
    if settings.front_door == "fastcgi":
        yield Finding(
            "error",
            "FastCGI starts its own processes and calls them by the inherited pipe; this command listens on a port.",
            setting=_DOOR,
            remedy="Let wfastcgi call torchgate.wsgi.application, or choose another front door.",
        )


def caller_checks(settings: GateSettings) -> Iterator[Finding]:
    """What keeps a process from being called by a WSGI server."""
    if settings.front_door != "fastcgi":
        yield Finding(
            "error",
            f"torchgate.wsgi.application is called by a WSGI server, and the front door is {settings.front_door!r}.",
            setting=_DOOR,
            remedy='Set gate.front_door = "fastcgi", or start `torchgate gate` behind the other one.',
        )


def wsgi_checks(settings: GateSettings) -> Iterator[Finding]:
    """What keeps a gate from standing around a WSGI application: proofs and users that come by headers.

    WSGI makes one variable of headers that differ in dashes and underscores alone, so that a client could add to what
    a proxy or a module of IIS has written.
    """
    if settings.front_door in _HEADERS_COUNT:
        yield Finding(
            "error",
            f"behind {settings.front_door!r} a request is proven by its headers, and WSGI mixes those of the client "
            "with those of its front door.",
            setting=_DOOR,
            remedy='Use "fastcgi" (wfastcgi) or "direct", or guard an ASGI application.',
        )


def _proxy(settings: GateSettings) -> Iterator[Finding]:
    proxy, listens_on_unix = settings.proxy, is_unix(settings.bind)
    if not listens_on_unix and not proxy.has_proof:
        yield Finding(
            "error",
            "nothing proves that a request came through the proxy.",
            setting="gate.proxy",
            remedy='Bind "unix:PATH", or set gate.proxy.secret to the name of a secret in [secrets], '
            "or gate.proxy.certificates to the SHA-256 of the proxy's own certificate. A reverse proxy that can do "
            'none of these (ARR) is front door "arr", which carries bearer tokens and API keys alone.',
        )
    if not listens_on_unix and not proxy.peers:
        yield Finding(
            "error",
            "no address is listed, so that no proxy could connect.",
            setting="gate.proxy.peers",
            remedy='List the addresses that the proxy connects from, e.g. peers = ["127.0.0.1"].',
        )
    if listens_on_unix and proxy.peers:
        yield Finding("warning", "is not looked at on a unix socket.", setting="gate.proxy.peers")
    if proxy.user_header is None and proxy.certificate_header is None:
        yield Finding(
            "info",
            "carries no user and no certificate: only bearer tokens and API keys count.",
            setting="gate.proxy",
        )


def _another_module(declaration: FrontDoorDeclaration, present: Mapping[str, str]) -> Iterator[Finding]:
    for variable, (name, module) in _LEFT_BEHIND.items():
        if variable not in present:
            continue
        # Before v2 there was no token, so that the port alone tells of the older one.
        if name != declaration.name:
            yield Finding(
                "error",
                f"{module} started this server (the environment has {variable}), and the front door is "
                f"{declaration.name!r}: what proves and marks its requests would not be looked at.",
                setting=_DOOR,
                remedy=f'Set gate.front_door = "{name}".',
            )
        return


def _missing(declaration: FrontDoorDeclaration, present: Mapping[str, str]) -> Iterator[Finding]:
    for variable, what in (
        (declaration.token_variable, "proves that a request came from IIS"),
        (declaration.port_variable, "says where IIS will call"),
    ):
        if variable and not present.get(variable):
            yield Finding(
                "error",
                f"the environment lacks {variable}, which {what}: IIS did not start this server.",
                setting=_DOOR,
                remedy='Let IIS start it, or set gate.front_door = "direct" to start it by hand.',
            )
    port = present.get(declaration.port_variable, "") if declaration.port_variable else ""
    if port and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65536):
        yield Finding("error", f"the environment variable {declaration.port_variable} holds no port.", setting=_DOOR)


def windows_setting_checks(
    settings: GateSettings, paths: MarkedPaths, *, impersonates: bool = False
) -> Iterator[Finding]:
    """Whether the front door carries Windows identities, where these are enabled, and on which paths.

    Args:
        impersonates: models may act with their callers' rights.
    """
    declaration = FRONT_DOORS[settings.front_door]
    if impersonates and not declaration.token_header:
        yield Finding(
            "error",
            f"front door {declaration.name!r} brings no Windows tokens, so that no model could act with its caller's "
            "rights.",
            setting=f"{_WINDOWS}.impersonation",
            remedy='Use front door "ancm" or "httpplatform", or take it out.',
        )
    if "windows" not in declaration.carries and declaration.name != "fastcgi":
        yield Finding(
            "error",
            f"front door {declaration.name!r} carries no Windows tokens.",
            setting=_WINDOWS,
            remedy='Use front door "ancm" or "httpplatform", or switch Windows identities off.',
        )
    elif declaration.token_header and not paths:
        yield Finding(
            "error",
            "no path is marked as Windows-authenticated, so that no token would be believed.",
            setting=f"{_WINDOWS}.paths",
            remedy='Name the paths on which IIS allows Windows authentication alone, e.g. paths = ["/v2"].',
        )


def _windows(declaration: FrontDoorDeclaration, present: Mapping[str, str], windows: WindowsUse) -> Iterator[Finding]:
    yield from _kinds_of_iis(declaration, present, windows)
    if not declaration.token_is_its_own and not windows.client_tokens_blocked:
        where = "web.config does not block" if windows.client_tokens_blocked is False else "there is no web.config with"
        header = declaration.token_header.decode("ascii")
        yield Finding(
            "error",
            f"{where} a client's own {header}, which this module lets through: anybody could name a token.",
            setting=_WINDOWS,
            remedy=f"Add a rewrite rule that sets HTTP_{header.replace('-', '_').upper()} to nothing on every path, "
            'or a filtering rule that refuses the header; or use front door "ancm", whose module takes it off.',
        )


def _kinds_of_iis(
    declaration: FrontDoorDeclaration, present: Mapping[str, str], windows: WindowsUse
) -> Iterator[Finding]:
    """What IIS says of the application's root, against what we say of it."""
    said = present.get(declaration.authentication_variable)
    if said is None or not windows.paths.has_root:
        return
    kinds = {kind.strip().lower() for kind in said.split(";") if kind.strip()}
    if "windows" not in kinds:
        yield Finding(
            "error",
            f"everything is marked as Windows-authenticated, and IIS has no Windows authentication here ({said!r}).",
            setting="identity.windows.paths",
            remedy="Switch Windows authentication on for this application in IIS.",
        )
    if others := sorted(kinds - {"windows"}):
        yield Finding(
            "error",
            f"everything is marked as Windows-authenticated, and IIS also lets in: {', '.join(others)}.",
            setting="identity.windows.paths",
            remedy="Switch these off for this application in IIS, or mark only the paths where they are off.",
        )
