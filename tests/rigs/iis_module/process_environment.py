"""Environment and command line of a process that the module starts. Source: iis.md 1.2, 1.3; `SERVER_PROCESS::
StartProcess`, `ENVIRONMENT_VAR_HELPERS`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from tests.rigs.iis_module.configuration import Application

_SITE = "/LM/W3SVC/1/ROOT"


def worker_environment(application: Application) -> dict[str, str]:
    """That of the w3wp, which its process inherits whole."""
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith("TORCHGATE_")}
    return {**ours, **application.pool_variables}


def process_environment(application: Application, port: int, pairing: str) -> dict[str, str]:
    """What the process gets: all of the w3wp, what web.config sets over it, and what the module tells over both.

    A port and a token that web.config names are the module's own, too. What is called a physical path is the
    application's id: the source hands over the wrong one of its strings.
    """
    variant, root = application.variant, application.access_at("")
    of_the_worker = worker_environment(application)
    known = known_to_arguments(application, port)
    said = {name: expanded(value, known) for name, value in application.variables.items()}
    environment = {**of_the_worker, f"{variant.prefix}_PORT": str(port), **said}
    if not variant.has_pairing:
        return environment
    kinds = {"windows;": root.windows, "basic;": root.basic, "anonymous;": root.anonymous}
    own = "".join(kind for kind, is_enabled in kinds.items() if is_enabled)
    return {
        f"{variant.prefix}_TOKEN": pairing,
        **environment,
        f"{variant.prefix}_APPL_PATH": application.virtual_path,
        f"{variant.prefix}_IIS_HTTPAUTH": own or "none",
        f"{variant.prefix}_IIS_WEBSOCKETS_SUPPORTED": "false",
        f"{variant.prefix}_IIS_PHYSICAL_PATH": _SITE + application.virtual_path.rstrip("/"),
    }


def known_to_arguments(application: Application, port: int) -> dict[str, str]:
    """The variables that are put into the command line: the w3wp's, and the port where the module is said to do it."""
    variant = application.variant
    own = {f"{variant.prefix}_PORT": str(port)} if variant.fills_in_port else {}
    return {**worker_environment(application), **own}


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """With its %VARIABLES%; unknown ones stay."""
    by_name = {name.upper(): value for name, value in environment.items()}
    return re.sub(r"%([^%]+)%", lambda found: by_name.get(found[1].upper(), found[0]), text)


def resolved_program(path: str, folder: Path) -> str:
    """Beside web.config where it is a relative path of a file there."""
    beside = folder / path
    return str(beside) if not os.path.isabs(path) and beside.is_file() else path  # noqa: PTH117 - as the module looks
