"""The commands: parse, call one function, print; no logic here.

Exit codes: 0 done; 1 no (a mistake was found, a request was refused, a trail is not whole, nothing answers);
2 the command line itself is wrong; 130 interrupted.

Every other import of ours stands inside the command that needs it, so that `--version` and `--help` start at once.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torchgate.terminal import fail, note, say, use_safe_encoding

if TYPE_CHECKING:
    from torchgate.config import TorchgateSettings

_EPILOG = "exit codes: 0 done; 1 no (mistakes found, refused, no answer); 2 wrong command line; 130 interrupted"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    use_safe_encoding()
    parser = _parser()
    parsed, rest = parser.parse_known_args(arguments)
    if not _take(parsed, rest):
        parser.error(f"unrecognised arguments: {' '.join(rest)}")
    parsed.project = getattr(parsed, "config", None) or getattr(parsed, "project", None) or Path()
    try:
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone, e.g. `head`; the interpreter must not complain at exit either.
        with contextlib.suppress(OSError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


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
    for path in files:
        say(f"wrote {path}")
    place = parsed.folder
    say(f"\nStart it:   torchgate serve {_quoted(place)}")
    say(f"Ask it:     torchgate predict doubler --config {_quoted(place)} --as analyst x=[1,2,3]")
    return 0


def _serve(parsed: argparse.Namespace) -> int:
    from torchgate.gate.early_port import EarlyPort

    with EarlyPort(os.environ) as port:
        from torchgate.app import serve  # after the port is bound: this takes long

        return serve(parsed.project, parsed.set, port)


def _pool(parsed: argparse.Namespace) -> int:
    from torchgate.pool_app import run_pool

    return run_pool(parsed.project, parsed.set)


def _gate(parsed: argparse.Namespace) -> int:
    from torchgate.gate.early_port import EarlyPort

    with EarlyPort(os.environ) as port:
        from torchgate.gate_app import run_gate  # after the port is bound: this takes long

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


def _audit_tail(parsed: argparse.Namespace) -> int:
    from torchgate.audit_commands import tail

    settings = _settings(parsed)
    return 1 if settings is None else tail(settings.audit_folder, parsed)


def _audit_verify(parsed: argparse.Namespace) -> int:
    from torchgate.audit_commands import verify_trail

    if parsed.folder is not None:
        return verify_trail(parsed.folder, parsed)
    settings = _settings(parsed)
    return 1 if settings is None else verify_trail(settings.audit_folder, parsed)


def _later(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """A command whose module is imported when it is run."""

    def run(parsed: argparse.Namespace) -> int:
        return int(getattr(importlib.import_module(f"torchgate.{module}"), function)(parsed))

    return run


def _settings(parsed: argparse.Namespace) -> TorchgateSettings | None:
    """The settings of the project, or None after saying what is wrong with them."""
    from torchgate.config import read_configuration

    configuration = read_configuration(parsed.project, os.environ, parsed.set)
    for finding in configuration.findings:
        note(str(finding))
    return configuration.settings


def _quoted(path: Path) -> str:
    return f'"{path}"' if " " in str(path) else str(path)


class _Version(argparse.Action):
    """Prints the version; its number is read only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from torchgate import __version__

        say(f"torchgate {__version__}")
        parser.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="torchgate",
        description="Serves PyTorch models with identity, policy and audit in front.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    init = _command(commands, "init", _init, "write a new project that `serve` runs as it is")
    init.add_argument("folder", type=Path, metavar="DIR", help="new or empty folder")
    _of_project(_command(commands, "serve", _serve, "serve the project's models over HTTP until stopped"))
    _of_project(_command(commands, "pool", _pool, "hold the project's models for gates until stopped; answers no HTTP"))
    _of_project(_command(commands, "gate", _gate, "serve over HTTP what the project's running pool holds"))
    check = _command(commands, "check", _check, "examine configuration, policy and models, offline, all at once")
    _of_project(check)
    check.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    check.add_argument("--explain", action="store_true", help="also list each setting: value, origin, default")
    _predict_arguments(
        _command(commands, "predict", _later("client_commands", "predict"), "ask a model of a running server")
    )
    _models_arguments(_group(commands, "models", "the models of a project or a running server"))
    policy = _group(commands, "policy", "who may do what")
    _policy_arguments(policy)
    _policy_server_arguments(policy)
    _iis_arguments(_group(commands, "iis", "the configuration of IIS, on any system"))
    _audit_arguments(_group(commands, "audit", "the audit trail"))
    _keys_arguments(_group(commands, "keys", "API keys"))
    _secrets_arguments(_group(commands, "secrets", "secrets that the server uses"))
    return parser


def _predict_arguments(predict: argparse.ArgumentParser) -> None:
    predict.add_argument("model", metavar="MODEL", help="its name, or NAME:VERSION")
    predict.add_argument(
        "inputs",
        nargs="*",
        metavar="NAME=VALUE",
        help="an input's rows as JSON (x=[1,2]), one text (text=hello) or from a file (x=@rows.json). Without any: one "
        "JSON object from stdin, input names to rows, or a whole Open Inference request",
    )
    predict.add_argument("--input", action="append", default=[], metavar="NAME=VALUE", help="the same, repeatable")
    _of_server(predict, has_project=False)
    predict.add_argument("--timeout-s", type=float, default=60.0, help="seconds to wait for the answer (60)")
    predict.add_argument("--raw", action="store_true", help="print the server's answer as it came")


def _models_arguments(models: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    listing = _command(
        models, "list", _later("client_commands", "list_models"), "the models in the project's folder; needs no server"
    )
    _of_project(listing)
    listing.add_argument("--json", action="store_true", help="one JSON array instead of lines for people")
    status = _command(
        models,
        "status",
        _later("client_commands", "models_status"),
        "models of a running server, their states, your use of quotas",
    )
    _of_server(status)
    status.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    status.add_argument("--timeout-s", type=float, default=10.0, help="seconds to wait for the answer (10)")
    _change_arguments(models)
    _signature_arguments(models)
    _tune_arguments(models)


def _change_arguments(models: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    texts = {
        "load": "have a running server serve what lies in a model's folder now",
        "reload": "the same, and what has not changed is loaded anew, too",
        "unload": "have a running server serve a model, or one version of it, no more",
    }
    for verb, text in texts.items():
        change = _command(models, verb, _later("client_commands", "change_model"), text)
        change.set_defaults(verb=verb)
        change.add_argument("model", metavar="MODEL", help="its name: all versions; or NAME:VERSION")
        _of_server(change, has_project=False)
        change.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
        change.add_argument("--timeout-s", type=float, default=300.0, help="seconds to wait for the end of it (300)")


def _signature_arguments(models: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    keygen = _command(models, "keygen", _later("sign_commands", "new_key"), "make a key that signs models")
    keygen.add_argument("file", type=Path, metavar="FILE", help="where the private key goes; must not be there yet")
    signing = _command(
        models,
        "sign",
        _later("sign_commands", "sign_model"),
        "sign every byte of a version, so that a server loads its code",
    )
    signing.add_argument("model", metavar="MODEL", help="NAME:VERSION, or NAME for its default version")
    signing.add_argument("--key", type=Path, required=True, metavar="FILE", help="the private key")
    _of_project(signing, has_project=False)
    verify = _command(
        models, "verify", _later("sign_commands", "verify_models"), "say who vouches for each version; needs no server"
    )
    verify.add_argument("models", nargs="*", metavar="MODEL", help="NAME or NAME:VERSION (all)")
    verify.add_argument("--strict", action="store_true", help="what allow_code names must be signed, too")
    verify.add_argument("--json", action="store_true", help="one JSON array instead of lines for people")
    _of_project(verify, has_project=False)


def _tune_arguments(models: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tune = _command(
        models,
        "tune",
        _later("tune_commands", "tune_model"),
        "measure ways to run a version; write the fastest into model.toml",
    )
    tune.add_argument("model", metavar="MODEL", help="NAME:VERSION, or NAME for its default version")
    tune.add_argument("--seconds", type=float, default=5.0, help="of measuring, for each number of rows (5)")
    tune.add_argument("--timeout-s", type=float, default=1800.0, help="for all of it, compiling included (1800)")
    tune.add_argument("--dry-run", action="store_true", help="measure and write nothing")
    tune.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    _of_project(tune, has_project=False)


def _iis_arguments(iis: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    render = _command(
        iis,
        "render",
        _later("iis_commands", "render"),
        "write web.config, and what belongs into applicationHost.config",
    )
    _of_plan(render)
    render.add_argument("--out", type=Path, default=Path("iis"), metavar="DIR", help="where to write (iis)")
    install = _command(
        iis,
        "install",
        _later("iis_commands", "install"),
        "make pool, application and authentication in this server's IIS",
    )
    _of_plan(install)
    install.add_argument("--dry-run", action="store_true", help="print the commands and change nothing")
    uninstall = _command(iis, "uninstall", _later("iis_commands", "uninstall"), "take back what `install` has changed")
    _of_project(uninstall, has_project=False)
    for command in (install, uninstall):
        command.add_argument("--appcmd", type=Path, metavar="FILE", help="IIS's program, if not where it belongs")
        command.add_argument("--application-host", type=Path, metavar="FILE", help="that it changes, if elsewhere")
    lint = _command(
        iis,
        "lint",
        _later("iis_commands", "lint_files"),
        "say what hurts in web.config and applicationHost.config, offline",
    )
    lint.add_argument("web_config", type=Path, metavar="WEB.CONFIG", help="the file, or the folder where it is")
    lint.add_argument(
        "--application-host", type=Path, metavar="FILE", help="the server's applicationHost.config, or a copy"
    )
    lint.add_argument("--site", metavar="NAME", help="which site of that server")
    lint.add_argument("--application", default="/", metavar="PATH", help="which application of the site (/)")
    lint.add_argument("--schemas", type=Path, metavar="DIR", help="IIS's schema files; on a server found by itself")
    lint.add_argument("--json", action="store_true", help="one JSON array instead of lines for people")
    _of_project(lint, has_project=False)
    convert = _command(
        iis, "convert", _later("iis_commands", "convert"), "say what an application behind wfastcgi becomes here"
    )
    convert.add_argument("web_config", type=Path, metavar="WEB.CONFIG", help="the file of wfastcgi")


def _of_plan(command: argparse.ArgumentParser) -> None:
    _of_project(command, has_project=False)
    command.add_argument("--site", default="Default Web Site", help="name of the site (Default Web Site)")
    command.add_argument("--application", default="/", metavar="PATH", help="of the application in it (/)")
    command.add_argument("--pool-name", default="torchgate", metavar="NAME", help="of its application pool (torchgate)")
    command.add_argument("--python", metavar="FILE", help="python.exe on that server (this one)")
    command.add_argument("--project-path", metavar="DIR", help="the project's folder on that server (as here)")
    command.add_argument("--folder", metavar="DIR", help="the application's own folder there (iis in the project)")
    command.add_argument("--gate", action="store_true", help="IIS starts `gate`; `pool` runs apart, e.g. as a service")


def _policy_arguments(policy: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    explain = _command(
        policy,
        "explain",
        _later("policy_commands", "explain_policy"),
        "why a request is allowed or denied, rule by rule; offline",
    )
    _of_project(explain, has_project=False)
    who = explain.add_mutually_exclusive_group(required=True)
    who.add_argument("--principal", metavar="WHO", help="key:ID, development:NAME, or a role member as in [roles]")
    who.add_argument("--roles", metavar="A,B", help="roles, separated by commas; empty for none")
    who.add_argument(
        "--member", action="append", metavar="MEMBER", help="what is known of somebody, as in [roles]; repeatable"
    )
    who.add_argument("--token-file", type=Path, metavar="FILE", help="whose bearer token is in this file; verified")
    explain.add_argument("--groups-unknown", action="store_true", help="not all groups of WHO or MEMBER are known")
    explain.add_argument("action", metavar="ACTION", help="infer, read, load, unload, metrics, admin …")
    explain.add_argument(
        "model", nargs="?", default="", metavar="MODEL", help="NAME or NAME:VERSION; absent: the server itself"
    )
    explain.add_argument("--version", default="", metavar="N", help="of the model (the one served by default)")
    explain.add_argument("--at", metavar="TIME", help="when, e.g. 2026-03-02T12:00:00+01:00 (now)")
    explain.add_argument("--rows", type=int, metavar="N", help="rows of the request (not known yet)")
    explain.add_argument("--bytes", type=int, metavar="N", help="bytes of its body (not known yet)")
    test = _command(
        policy,
        "test",
        _later("policy_commands", "test_policy"),
        "ask your own cases; 1 where an answer is not as expected; offline",
    )
    test.add_argument("file", type=Path, metavar="FILE", help="of [[cases]]")
    _of_project(test, has_project=False)


def _secrets_arguments(secrets: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    status = _command(
        secrets,
        "status",
        _later("secret_commands", "secrets_status"),
        "read each secret now, as this account; never show a value",
    )
    _of_project(status)
    status.add_argument("--json", action="store_true", help="one JSON array instead of lines for people")
    protect = _command(
        secrets,
        "protect",
        _later("secret_commands", "protect_secret"),
        "seal a value from stdin for a dpapi: reference (Windows)",
    )
    protect.add_argument("file", type=Path, metavar="FILE", help="where the sealed value goes; must not be there yet")
    protect.add_argument("--machine", action="store_true", help="for every account of this machine, not for this one")


def _keys_arguments(keys: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    new = _command(
        keys,
        "new",
        _later("keys_commands", "new_key"),
        "make an API key: print it once, and keep its hash in keys.toml",
    )
    new.add_argument("id", metavar="ID", help="its name in roles and audit: letters, digits, '-'")
    new.add_argument("--name", default="", metavar="TEXT", help="for people")
    new.add_argument("--roles", metavar="A,B", help="its roles, separated by commas")
    new.add_argument("--expires", metavar="WHEN", help="a span like 90d (m, h, d, w), or a date (never)")
    new.add_argument("--rotate", action="store_true", help="give the key ID a new value; the former counts for a while")
    new.add_argument("--overlap", default="7d", metavar="SPAN", help="how long it does (7d)")
    new.add_argument("--print", action="store_true", help="write nothing; print the lines for torchgate.toml")
    _of_project(new, has_project=False)
    listing = _command(
        keys,
        "list",
        _later("keys_commands", "list_keys"),
        "API keys with their states: valid, expires soon, rotating, expired",
    )
    _of_project(listing)
    listing.add_argument("--json", action="store_true", help="one JSON array instead of lines for people")
    revoke = _command(
        keys,
        "revoke",
        _later("keys_commands", "revoke_key"),
        "take an API key out of service; a running server obeys at once",
    )
    revoke.add_argument("id", metavar="ID", help="of the key")
    _of_project(revoke, has_project=False)


def _policy_server_arguments(policy: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    texts = {
        "status": "which policy a running server goes by, and what is wrong with it",
        "reload": "have a running server read its policy, roles and hook again",
    }
    for verb, text in texts.items():
        command = _command(policy, verb, _later("client_commands", "policy_in_force"), text)
        command.set_defaults(verb=verb)
        _of_server(command)
        command.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
        command.add_argument("--timeout-s", type=float, default=60.0, help="seconds to wait for the answer (60)")


def _audit_arguments(audit: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tail = _command(audit, "tail", _audit_tail, "print the newest events")
    _of_project(tail)
    tail.add_argument("-n", "--count", type=int, default=20, help="how many (20)")
    tail.add_argument("-f", "--follow", action="store_true", help="go on with new ones until interrupted")
    tail.add_argument("--json", action="store_true", help="the events as they lie in the trail")
    verify = _command(audit, "verify", _audit_verify, "prove that nothing was changed, removed or cut off")
    _of_project(verify)
    verify.add_argument("--folder", type=Path, help="of a trail elsewhere, instead of the project's")
    verify.add_argument("--keys", type=Path, metavar="FILE", help="public keys to believe, kept away from the trail")
    verify.add_argument(
        "--checkpoint", type=Path, action="append", default=[], metavar="FILE", help="a known checkpoint; repeatable"
    )
    verify.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")


def _group(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    group = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return group.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, run: object, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=_EPILOG)
    command.set_defaults(run=run)
    return command


def _of_project(command: argparse.ArgumentParser, *, has_project: bool = True) -> None:
    if has_project:
        command.add_argument("project", nargs="?", type=Path, metavar="PROJECT", help="its folder (this folder)")
    command.add_argument("--config", type=Path, metavar="PATH", help="the project's folder or its torchgate.toml")
    command.add_argument(
        "--set", action="append", default=[], metavar="SETTING=VALUE", help="e.g. gate.bind=127.0.0.1:0; repeatable"
    )


def _of_server(command: argparse.ArgumentParser, *, has_project: bool = True) -> None:
    _of_project(command, has_project=has_project)
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
