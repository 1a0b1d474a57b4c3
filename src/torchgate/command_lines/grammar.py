"""What the commands have in common: how one is named, and the options that say which project and which server."""

from __future__ import annotations

import argparse
import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from torchgate.terminal import WrongUse, say

EPILOG = (
    "exit codes: 0 done; 1 no (mistakes found, refused, no answer); 2 wrong command line; 3 the answer could not be "
    "written to stdout; 130 interrupted"
)

DAY_S = 86400.0
"""Nobody waits longer at a terminal."""

_COUNT_DIGITS = 15

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def later(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """A command whose module is imported when it is run."""

    def run(parsed: argparse.Namespace) -> int:
        return int(getattr(importlib.import_module(f"torchgate.{module}"), function)(parsed))

    return run


def group(commands: Commands, name: str, text: str) -> Commands:
    """Make a command that has commands of its own; they are added to what is returned."""
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)


def command(commands: Commands, name: str, run: object, text: str) -> argparse.ArgumentParser:
    """Make a command.

    Args:
        run: called with the parsed arguments; its result is the exit code.
        text: one line of help, without a full stop.
    """
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=EPILOG)
    command.register("action", None, _Once)  # what stands for "store"
    command.set_defaults(run=run, is_port_first=False)
    return command


class Parser(argparse.ArgumentParser):
    """argparse's, but for a help that can't be printed: that is told as of any other answer."""

    def print_help(self, file: Any = None) -> None:
        """Print it to stdout, or to the file."""
        if file is None:
            say(self.format_help().rstrip())
        else:
            super().print_help(file)


class _Once(argparse.Action):
    """Keeps a value, as argparse does; but an option that is given twice is a mistake, and not what came last."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given: frozenset[str] = getattr(namespace, "options_given", frozenset())
        if option_string is not None and self.dest in given:
            parser.error(f"argument {option_string}: is given twice; give it once")
        namespace.options_given = given | {self.dest}
        setattr(namespace, self.dest, values)


def path(text: str) -> Path:
    """A file or folder, as a person types it; what is empty comes of a shell's variable that is, and is no folder.

    Raises:
        ArgumentTypeError: it is empty.
    """
    if not text:
        raise argparse.ArgumentTypeError("is empty; name a file or folder (. is this folder)")
    return Path(text)


def text(given: str) -> str:
    """Some text; nothing of it is ever repeated, for it may be a credential.

    Raises:
        ArgumentTypeError: it is empty, or can't be printed.
    """
    if not given or not given.isprintable():
        raise argparse.ArgumentTypeError("is empty, or holds line ends or other characters that can't be printed")
    return given


def model(text: str) -> str:
    """A model as callers name it, NAME or NAME:VERSION, which a shell's completion easily makes a path of.

    Raises:
        ArgumentTypeError: it is a path.
    """
    if "/" in text or "\\" in text:
        raise argparse.ArgumentTypeError(
            f"{_shown(text)} is a path; `torchgate models list` says what models are called"
        )
    return text


def count(text: str) -> int:
    """How many of something, as a person types it.

    Raises:
        ArgumentTypeError: it is no number of ASCII digits alone, e.g. negative, or beyond what a file can have.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= _COUNT_DIGITS):
        raise argparse.ArgumentTypeError(f"{_shown(text)} is no whole number from 0 on, of {_COUNT_DIGITS} digits")
    return int(text)


def seconds(at_most_s: float) -> Callable[[str], float]:
    """A type of option: a span that can be waited for."""

    def read(text: str) -> float:
        try:
            span_s = float(text)
        except ValueError:
            span_s = math.nan
        if not 0 < span_s <= at_most_s:
            raise argparse.ArgumentTypeError(f"{_shown(text)} is no number of seconds above 0, at most {at_most_s:g}")
        return span_s

    return read


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def of_project(command: argparse.ArgumentParser, *, has_project: bool = True) -> None:
    """Add what says which project, and what is set otherwise than there.

    Args:
        has_project: whether its folder may also stand without an option.
    """
    if has_project:
        command.add_argument("project", nargs="?", type=path, metavar="PROJECT", help="its folder (this folder)")
    command.add_argument("--config", type=path, metavar="PATH", help="the project's folder or its torchgate.toml")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SETTING=VALUE",
        help="e.g. gate.bind=127.0.0.1:0; the last counts",
    )


def refuse_wrong_sets(parsed: argparse.Namespace) -> None:
    """Refuse a `--set` that sets nothing, before the command that has it does anything.

    Raises:
        WrongUse: there is no such setting, or the value is none for it.
    """
    flags = getattr(parsed, "set", ())
    if flags:
        from torchgate.config import flag_mistakes  # late: it takes long, and nearly no command has one

        if mistakes := flag_mistakes(flags):
            raise WrongUse("\n".join(mistakes))


def of_server(command: argparse.ArgumentParser, *, has_project: bool = True) -> None:
    """Add what says which running server is asked, and as whom."""
    of_project(command, has_project=has_project)
    command.add_argument("--url", type=text, help="of the server, e.g. http://127.0.0.1:8080 (the running one)")
    who = command.add_mutually_exclusive_group()
    who.add_argument("--as", dest="identity", metavar="NAME", help="as a development identity of the project")
    who.add_argument("--token-file", type=path, metavar="FILE", help="with the bearer token in this file")
    who.add_argument("--token", type=text, help="with this bearer token (others on this machine may see it)")
    who.add_argument("--key-file", type=path, metavar="FILE", help="with the API key in this file")
    who.add_argument("--key", type=text, help="with this API key (others on this machine may see it)")
    who.add_argument("--certificate", type=path, metavar="FILE", help="with this client certificate (PEM), by https")
    who.add_argument(
        "--negotiate",
        action="store_true",
        help="as the user who is logged in here (Kerberos; on Windows its own sign-in), by https or to this machine",
    )
    command.add_argument("--certificate-key", type=path, metavar="FILE", help="its private key, if not in its file")
    command.add_argument("--ca-file", type=path, metavar="FILE", help="authorities that the server's certificate has")
