"""The arguments of `torchgate iis …`."""

from __future__ import annotations

import argparse
from pathlib import Path

from torchgate.command_lines.grammar import Commands, command, later, of_project, path


def declare(iis: Commands) -> None:
    """The commands that write, read and change IIS's configuration."""
    render = command(
        iis,
        "render",
        later("iis_commands", "render"),
        "write web.config, and what belongs into applicationHost.config",
    )
    _of_plan(render)
    render.add_argument("--out", type=path, default=Path("iis"), metavar="DIR", help="where to write (iis)")
    install = command(
        iis,
        "install",
        later("iis_commands", "install"),
        "make pool, application and authentication in this server's IIS",
    )
    _of_plan(install)
    install.add_argument("--dry-run", action="store_true", help="print the commands and change nothing")
    uninstall = command(iis, "uninstall", later("iis_commands", "uninstall"), "take back what `install` has changed")
    of_project(uninstall, has_project=False)
    for change in (install, uninstall):
        change.add_argument("--appcmd", type=path, metavar="FILE", help="IIS's program, if not where it belongs")
        change.add_argument("--application-host", type=path, metavar="FILE", help="that it changes, if elsewhere")
    lint = command(
        iis,
        "lint",
        later("iis_commands", "lint_files"),
        "say what hurts in web.config and applicationHost.config, offline",
    )
    lint.add_argument("web_config", type=path, metavar="WEB.CONFIG", help="the file, or the folder where it is")
    lint.add_argument(
        "--application-host", type=path, metavar="FILE", help="the server's applicationHost.config, or a copy"
    )
    lint.add_argument("--site", metavar="NAME", help="which site of that server")
    lint.add_argument("--application", default="/", metavar="PATH", help="which application of the site (/)")
    lint.add_argument("--schemas", type=path, metavar="DIR", help="IIS's schema files; on a server found by itself")
    lint.add_argument("--json", action="store_true", help="one JSON array instead of lines for people")
    of_project(lint, has_project=False)
    convert = command(
        iis, "convert", later("iis_commands", "convert"), "say what an application behind wfastcgi becomes here"
    )
    convert.add_argument("web_config", type=path, metavar="WEB.CONFIG", help="the file of wfastcgi")


def _of_plan(command: argparse.ArgumentParser) -> None:
    of_project(command, has_project=False)
    command.add_argument("--site", default="Default Web Site", help="name of the site (Default Web Site)")
    command.add_argument("--application", default="/", metavar="PATH", help="of the application in it (/)")
    command.add_argument("--pool-name", default="torchgate", metavar="NAME", help="of its application pool (torchgate)")
    command.add_argument("--python", metavar="FILE", help="python.exe on that server (this one)")
    command.add_argument("--project-path", metavar="DIR", help="the project's folder on that server (as here)")
    command.add_argument("--folder", metavar="DIR", help="the application's own folder there (iis in the project)")
    command.add_argument(
        "--wsgi-handler", metavar="NAME", help="of your own application behind wfastcgi, e.g. app.app; else Torchgate"
    )
    command.add_argument(
        "--script", metavar="FILE", help="on that server: your own program that calls Gate.serve; else Torchgate"
    )
    command.add_argument("--gate", action="store_true", help="IIS starts `gate`; `pool` runs apart, e.g. as a service")
