"""What the commands have in common: how one is named, and the options that say which project and which server."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

EPILOG = "exit codes: 0 done; 1 no (mistakes found, refused, no answer); 2 wrong command line; 130 interrupted"

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def later(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """A command whose module is imported when it is run."""

    def run(parsed: argparse.Namespace) -> int:
        return int(getattr(importlib.import_module(f"torchgate.{module}"), function)(parsed))

    return run


def group(commands: Commands, name: str, text: str) -> Commands:
    """Make a command that has commands of its own; they are added to what is returned."""
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def command(commands: Commands, name: str, run: object, text: str) -> argparse.ArgumentParser:
    """Make a command.

    Args:
        run: called with the parsed arguments; its result is the exit code.
        text: one line of help, without a full stop.
    """
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=EPILOG)
    command.set_defaults(run=run)
    return command


def count(text: str) -> int:
    """How many of something, as a person types it.

    Raises:
        ValueError: it is no number of ASCII digits alone, e.g. negative; argparse says so with the option's name.
    """
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("no count")
    return int(text)


def of_project(command: argparse.ArgumentParser, *, has_project: bool = True) -> None:
    """Add what says which project, and what is set otherwise than there.

    Args:
        has_project: whether its folder may also stand without an option.
    """
    if has_project:
        command.add_argument("project", nargs="?", type=Path, metavar="PROJECT", help="its folder (this folder)")
    command.add_argument("--config", type=Path, metavar="PATH", help="the project's folder or its torchgate.toml")
    command.add_argument(
        "--set", action="append", default=[], metavar="SETTING=VALUE", help="e.g. gate.bind=127.0.0.1:0; repeatable"
    )


def of_server(command: argparse.ArgumentParser, *, has_project: bool = True) -> None:
    """Add what says which running server is asked, and as whom."""
    of_project(command, has_project=has_project)
    command.add_argument("--url", help="of the server, e.g. http://127.0.0.1:8080 (the project's running one)")
    who = command.add_mutually_exclusive_group()
    who.add_argument("--as", dest="identity", metavar="NAME", help="as a development identity of the project")
    who.add_argument("--token-file", type=Path, metavar="FILE", help="with the bearer token in this file")
    who.add_argument("--token", help="with this bearer token (others on this machine may see it)")
    who.add_argument("--key-file", type=Path, metavar="FILE", help="with the API key in this file")
    who.add_argument("--key", help="with this API key (others on this machine may see it)")
    who.add_argument("--certificate", type=Path, metavar="FILE", help="with this client certificate (PEM), by https")
    command.add_argument("--certificate-key", type=Path, metavar="FILE", help="its private key, if not in its file")
    command.add_argument("--ca-file", type=Path, metavar="FILE", help="authorities that the server's certificate has")
