"""The commands: parse, call one function, print; no logic here.

Exit codes: 0 done; 1 no (a mistake was found, a request was refused, a trail is not whole, nothing answers);
2 the command line itself is wrong; 3 the answer could not be written to stdout; 130 interrupted.

Every other import of ours stands inside the command that needs it, so that `--version` and `--help` start at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from torchgate.command_lines import audit, doctor, iis, keys, models, pin, policy, predict, secrets, service
from torchgate.command_lines.grammar import EPILOG, Parser, command, group, later, of_project, path, refuse_wrong_sets
from torchgate.terminal import Unsaid, WrongUse, fail, finish, give_up, refuse, say, use_safe_encoding


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    _fill_standard_descriptors()
    use_safe_encoding()
    try:
        code = _run(arguments)
        finish()
    except Unsaid as unsaid:
        code = give_up(unsaid)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        parser = _parser()
        parsed = _parsed(parser, arguments)
        if not parsed.is_port_first:
            refuse_wrong_sets(parsed)
        return int(parsed.run(parsed))
    except WrongUse as wrong:
        return refuse(wrong)
    except KeyboardInterrupt:
        return 130
    except SystemExit:  # argparse has printed help, or what is wrong
        finish()
        raise


def _parsed(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    parsed, rest = parser.parse_known_args(arguments)
    if not _take(parsed, rest):
        parser.error(f"unrecognised arguments: {' '.join(rest)}")
    config, project = getattr(parsed, "config", None), getattr(parsed, "project", None)
    if config is not None and project is not None and not _are_one(config, project):
        raise WrongUse(f"two projects are named, {project} and by --config {config}. Name one of them.")
    parsed.project = config or project or Path()
    return parsed


def _are_one(one: Path, other: Path) -> bool:
    """Whether both name the same project, e.g. its folder and its settings file."""
    return _folder(one) == _folder(other)


def _folder(project: Path) -> str:
    return os.path.realpath(project.parent if project.name == "torchgate.toml" else project)


def _fill_standard_descriptors() -> None:
    """Before anything else is opened; a socket that listens early is, too."""
    if sys.platform != "win32":
        from torchgate.posix.standard_descriptors import fill_standard_descriptors  # it exists on this system alone

        fill_standard_descriptors()


def _take(parsed: argparse.Namespace, rest: list[str]) -> bool:
    """Put arguments behind options where argparse does not look for them any more: inputs, and the project's folder."""
    if any(argument.startswith("-") for argument in rest):
        return False
    if hasattr(parsed, "inputs"):
        parsed.inputs += rest
        return True
    if len(rest) == 1 and getattr(parsed, "project", ...) is None:
        parsed.project = Path(rest[0])
        return True
    return not rest


def _init(parsed: argparse.Namespace) -> int:
    from torchgate.project import ProjectError, create_project

    try:
        files = create_project(parsed.folder)
    except ProjectError as error:
        return fail(str(error))
    for file in files:
        say(f"wrote {file}")
    place = parsed.folder
    say(f"\nStart it:   torchgate serve {_quoted(place)}")
    say(f'Ask it:     torchgate predict doubler --config {_quoted(place)} --as analyst "x=[1,2,3]"')
    return 0


def _serve(parsed: argparse.Namespace) -> int:
    from torchgate.gate.early_port import EarlyPort

    with EarlyPort(os.environ) as port:
        from torchgate.app import serve  # after the port is bound: this takes long

        refuse_wrong_sets(parsed)
        return serve(parsed.project, parsed.set, port)


def _pool(parsed: argparse.Namespace) -> int:
    from torchgate.pool_app import run_pool

    return run_pool(parsed.project, parsed.set)


def _gate(parsed: argparse.Namespace) -> int:
    from torchgate.gate.early_port import EarlyPort

    with EarlyPort(os.environ) as port:
        from torchgate.gate_app import run_gate  # after the port is bound: this takes long

        refuse_wrong_sets(parsed)
        return run_gate(parsed.project, parsed.set, port)


def _check(parsed: argparse.Namespace) -> int:
    from torchgate.examination import examine, explained_lines, human_lines, json_line

    examination = examine(parsed.project, os.environ, parsed.set)
    if parsed.json:
        say(json_line(examination))
    else:
        for line in explained_lines(examination) if parsed.explain else ():
            say(line)
        for line in human_lines(examination):
            say(line)
    return 0 if examination.is_passed else 1


def _quoted(path: Path) -> str:
    return f'"{path}"' if " " in str(path) else str(path)


class _Version(argparse.Action):
    """Prints the version; its number is read only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from torchgate import __version__

        say(f"torchgate {__version__}")
        parser.exit(0)


def _parser() -> Parser:
    parser = Parser(
        prog="torchgate",
        description="Serves PyTorch models with identity, policy and audit in front.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    init = command(commands, "init", _init, "write a new project that `serve` runs as it is")
    init.add_argument("folder", type=path, metavar="DIR", help="new or empty folder")
    serve = command(commands, "serve", _serve, "serve the project's models over HTTP until stopped")
    of_project(command(commands, "pool", _pool, "hold the project's models for gates until stopped; answers no HTTP"))
    gate = command(commands, "gate", _gate, "serve over HTTP what the project's running pool holds")
    for one in (serve, gate):
        of_project(one)
        one.set_defaults(is_port_first=True)
    check = command(commands, "check", _check, "examine configuration, policy and models, offline, all at once")
    of_project(check)
    check.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    check.add_argument("--explain", action="store_true", help="also list each setting: value, origin, default")
    doctor.declare(commands)
    pin.declare(
        command(commands, "pin", later("pin_commands", "pin"), "lock Python, torch, CUDA, devices, wheels and models")
    )
    predict.declare(
        command(commands, "predict", later("client_commands", "predict"), "ask a model of a running server")
    )
    models.declare(group(commands, "models", "the models of a project or a running server"))
    policy.declare(group(commands, "policy", "who may do what"))
    iis.declare(group(commands, "iis", "the configuration of IIS, on any system"))
    service.declare(group(commands, "service", "the pool as a service of this machine"))
    audit.declare(group(commands, "audit", "the audit trail"))
    keys.declare(group(commands, "keys", "API keys"))
    secrets.declare(group(commands, "secrets", "secrets that the server uses"))
    return parser
