"""Where and how one Torchgate server shall stand in IIS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Literal

import msgspec

from torchgate.iis.facts import MODULES, ServerFacts
from torchgate.iis.lint_question import Site

Layout = Literal["windows", "bearer", "split"]
"""Who is authenticated where: Windows accounts by IIS everywhere; nobody by IIS; or by path."""

SHUTDOWN_SPARE_S = 4
"""What IIS gives a stopping server beyond gate.drain_s: for running batches and the end of the audit trail."""

HANDLER = "torchgate.wsgi.application"
"""What wfastcgi calls, where it is not an application of the user's own."""

_MAX_SHUTDOWN_S = 600
_SHOWN_NO_NAME = '\\ / ? ; : @ & = + $ , | " < > *'
_NO_NAME = frozenset(_SHOWN_NO_NAME.replace(" ", ""))
"""Of sites; of application pools fewer. Source: Microsoft.Web.Administration, SiteCollection."""


class Plan(msgspec.Struct, frozen=True):
    """What is rendered and installed.

    Args:
        facts: of the server.
        site: where it stands.
        pool_name: of its application pool.
        python: path of the python.exe that IIS starts, on that machine.
        project: path of the project's folder there.
        folder: path of the application's own folder there, which holds web.config alone: never the project, whose
            state and settings no mistake of a handler may serve.
        command: `serve`, or `gate` where the models run apart.
        wsgi_handler: what wfastcgi calls: Torchgate itself, or an application in the project that it guards.
        script: path of the user's own program there, which IIS starts in place of ours; empty: ours.
        environment: of the pool; values are plain settings or references, never secrets.
    """

    facts: ServerFacts
    site: Site
    pool_name: str
    python: str
    project: str
    folder: str
    command: Literal["serve", "gate"] = "serve"
    environment: Mapping[str, str] = MappingProxyType({})
    wsgi_handler: str = HANDLER
    script: str = ""

    @property
    def arguments(self) -> str:
        """What Python is started with."""
        return f'"{self.script}"' if self.script else f'-m torchgate {self.command} "{self.project}"'

    @property
    def layout(self) -> Layout:
        """Who is authenticated where."""
        if not self.facts.takes_windows:
            return "bearer"
        return "windows" if any(not path.strip("/") for path in self.facts.windows_paths) else "split"

    @property
    def location(self) -> str:
        """How applicationHost.config calls the application."""
        return "/".join(part for part in (self.site.name, self.site.application.strip("/")) if part)


def plan_mistakes(plan: Plan) -> Iterator[str]:
    """Why nothing good could be rendered from a plan; each sentence says what to do."""
    facts = plan.facts
    if facts.front_door not in MODULES:
        yield (
            f"gate.front_door is {facts.front_door!r}; IIS starts a server behind "
            f"{' or '.join(repr(door) for door in MODULES)} alone. Set one of them."
        )
    if facts.takes_windows and not facts.windows_paths:
        yield (
            "Windows identities are enabled, and no path is said to be for Windows callers alone, so that no token "
            'counts anywhere. Name such paths in identity.windows.paths, e.g. "/" or "/win".'
        )
    if plan.layout == "windows" and facts.takes_bearer:
        yield (
            "Every path is for Windows callers alone, and bearer tokens or API keys are enabled, too: IIS would refuse "
            "them before we see them. Name some paths alone in identity.windows.paths."
        )
    if facts.front_door == "httpplatform-1.2" and facts.takes_windows:
        yield "HttpPlatformHandler 1.2 proves nothing about a Windows token. Use the front door `ancm`."
    yield from _fast_cgi_mistakes(plan)
    if facts.drain_s + SHUTDOWN_SPARE_S > _MAX_SHUTDOWN_S:
        yield (
            f"gate.drain_s is {facts.drain_s:g}; IIS gives a stopping server {_MAX_SHUTDOWN_S} s at most. "
            f"Set {_MAX_SHUTDOWN_S - SHUTDOWN_SPARE_S} or less."
        )
    names = {"site": plan.site.name, "application pool": plan.pool_name}
    for what, name in names.items():
        if not name.strip() or set(name) & _NO_NAME:
            yield f"the name of the {what} is {name!r}; IIS takes none that is empty or has one of {_SHOWN_NO_NAME}."
    if not plan.site.application.startswith("/"):
        yield f"the application is {plan.site.application!r}; it begins with /, e.g. / or /models."
    if plan.folder.rstrip("\\/").lower() == plan.project.rstrip("\\/").lower():
        yield "the application's folder is the project's. Give it one of its own: it holds web.config alone."
    yield from _path_mistakes(plan)


def _path_mistakes(plan: Plan) -> Iterator[str]:
    paths = {"python": plan.python, "project": plan.project, "folder": plan.folder, "script": plan.script}
    for name, value in paths.items():
        option = "--project-path" if name == "project" else f"--{name}"
        if '"' in value or any(ord(character) < 32 or "\ud800" <= character <= "\udfff" for character in value):
            yield f"the path of {name} has a quote or a control character, which no command line of IIS can hold."
        elif value and not (PureWindowsPath(value).is_absolute() or PurePosixPath(value).is_absolute()):
            yield f"the path of {name} is {value!r}; name one on the server, from its drive on, by {option}."


def _fast_cgi_mistakes(plan: Plan) -> Iterator[str]:
    if plan.facts.front_door != "fastcgi":
        if plan.wsgi_handler != HANDLER:
            yield "A WSGI handler is what wfastcgi calls; behind IIS's modules name your program by --script."
        return
    if plan.script:
        yield "A script is what IIS starts behind its modules; behind wfastcgi name your application by --wsgi-handler."
    if plan.command != "gate":
        yield "Behind wfastcgi the models run apart, because IIS starts several processes. Add --gate."
    if any(sign in plan.python for sign in "'|"):
        yield "the path of python has a ' or a |, which no FastCGI application of IIS can hold."
