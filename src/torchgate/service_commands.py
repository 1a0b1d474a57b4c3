"""`torchgate service`: the pool as a service of this machine."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from torchgate.composition import private_folders
from torchgate.config import Configuration, TorchgateSettings
from torchgate.contract.services import ServiceProblem, Services, ServiceSpec
from torchgate.contract.virtual_accounts import as_peer
from torchgate.examination import examine
from torchgate.services_here import interpreter, services
from torchgate.terminal import WrongUse, fail, note, say

SPARE_S = 10.0
"""For a stopping pool beyond gate.drain_s: batches that run, workers, the end of the audit trail."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_IS_WINDOWS = sys.platform == "win32"


def install(parsed: argparse.Namespace, keeper: Services | None = None) -> int:
    """Make the service, or say what would be made.

    Args:
        keeper: of services; None: this system's.

    Raises:
        WrongUse: the name is none for a service.
    """
    if not _NAME.fullmatch(parsed.name):
        raise WrongUse(f"{parsed.name!r} is no name for a service. Use letters, digits and hyphens, at most 64.")
    # Nobody watches a service start: what would keep it from that is told now, while somebody does.
    examination = examine(parsed.project, os.environ, parsed.set)
    for finding in examination.findings:
        if finding.severity != "info":
            note(str(finding))
    configuration = examination.configuration
    if not examination.is_passed or configuration.settings is None:
        return fail("nothing was installed: the project has these mistakes. `torchgate check` examines it again.")
    spec = service_spec(parsed, configuration, configuration.settings)
    for sentence in _doubts(spec, configuration, configuration.settings):
        note(f"torchgate: {sentence}")
    try:
        keeper = keeper or services()
        if parsed.dry_run:
            for line in keeper.planned(spec):
                say(line)
            return 0
        for sentence in keeper.install(spec):
            note(f"torchgate: {parsed.name}: {sentence}")
    except ServiceProblem as problem:
        return fail(f"{problem}.")
    say(f"Installed {parsed.name}. Start it: torchgate service start --name {parsed.name}")
    return 0


def uninstall(parsed: argparse.Namespace, keeper: Services | None = None) -> int:
    """Stop it, and take it away; what it has written stays."""
    return _done(
        lambda: _ours(parsed.name, keeper).uninstall(parsed.name, parsed.timeout_s), f"{parsed.name} is uninstalled."
    )


def start(parsed: argparse.Namespace, keeper: Services | None = None) -> int:
    """Start it, and return when gates are let in."""
    return _done(lambda: _ours(parsed.name, keeper).start(parsed.name, parsed.timeout_s), f"{parsed.name} runs.")


def stop(parsed: argparse.Namespace, keeper: Services | None = None) -> int:
    """Stop it, and return when it has."""
    return _done(lambda: _ours(parsed.name, keeper).stop(parsed.name, parsed.timeout_s), f"{parsed.name} has stopped.")


def status(parsed: argparse.Namespace, keeper: Services | None = None) -> int:
    """How it is; 1 where it does not run."""
    try:
        seen = (keeper or services()).status(parsed.name)
    except ServiceProblem as problem:
        return fail(f"{problem}.")
    if parsed.json:
        say(msgspec.json.encode(seen).decode())
    else:
        where = f", process {seen.pid}" if seen.pid else ""
        last = f"; its last process ended with {seen.exit_code}" if seen.exit_code else ""
        say(f"{parsed.name} is {seen.state}{where}, as {seen.account}{last}")
        say(f"  {seen.command}")
    return 0 if seen.state == "running" else 1


def service_spec(parsed: argparse.Namespace, configuration: Configuration, settings: TorchgateSettings) -> ServiceSpec:
    """What is installed: absolute paths, because a service starts in a folder of the system."""
    state = Path(parsed.state_folder).resolve() if parsed.state_folder else default_state_folder(parsed.name)
    meeting = settings.pool.folder or settings.state.folder
    python, environment = interpreter()
    stop_s = settings.gate.drain_s + SPARE_S
    program = (python, "-I", "-X", "utf8", "-m", "torchgate")
    what: tuple[str, ...] = ("pool", str(configuration.file))
    if _IS_WINDOWS:
        host = ("--name", parsed.name, "--log-folder", str(state / "logs"), "--stop-timeout-s", f"{stop_s:g}")
        what = ("service", "host", *host, str(configuration.file))
    others = (one for one in parsed.set if not one.startswith(("state.folder=", "pool.folder=")))
    sets = (*others, f"state.folder={state}", f"pool.folder={meeting}")
    flags = tuple(part for one in sets for part in ("--set", one))
    own = (str(state),) if _IS_WINDOWS else tuple(dict.fromkeys((str(state), str(meeting))))
    return ServiceSpec(
        name=parsed.name,
        title=f"Torchgate pool ({configuration.file.parent.name})",
        description="Holds PyTorch models for the gates of this machine.",
        command=(*program, *what, *flags),
        account=parsed.account or default_account(parsed.name),
        stop_timeout_s=stop_s,
        environment=environment,
        folders=own,
    )


def default_state_folder(name: str) -> Path:
    """The pool's own, because a state folder is closed to every other account, and a gate has another one."""
    if _IS_WINDOWS:
        return Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData")) / "Torchgate" / name
    return Path("/var/lib") / name


def default_account(name: str) -> str:
    """An account for this alone: on Windows the one that every service has, on Linux `torchgate`."""
    return f"NT SERVICE\\{name}" if _IS_WINDOWS else "torchgate"


def _doubts(spec: ServiceSpec, configuration: Configuration, settings: TorchgateSettings) -> list[str]:
    """What would keep gates from finding it, or lets others take its place, in sentences with their remedy."""
    pool = settings.pool
    doubts = [f"{sentence}." for folder in spec.folders for sentence in private_folders().swappers(Path(folder))]
    if _IS_WINDOWS:
        account = as_peer(spec.account)
        if not pool.gates:
            doubts.append(
                "[pool] gates names nobody, so that only gates of the service's own account are let in. For gates "
                f"that IIS starts add to {configuration.file}:  gates = ['IIS AppPool\\NAME OF THE POOL']"
            )
        if account.startswith("S-1-") and pool.owner_account != account:
            doubts.append(
                f"gates will not believe a pool of {spec.account}, because [pool] owner does not name it. Add to "
                f"{configuration.file}:  owner = '{spec.account}'"
            )
        if (home := Path(os.environ.get("SYSTEMDRIVE", "C:"), "/Users")) in configuration.file.parents:
            doubts.append(
                f"{configuration.file.parent} lies in {home}, where {spec.account} may read nothing. Move the project, "
                "or give it that right (icacls)."
            )
    elif pool.folder is None:
        doubts.append(
            f"[pool] folder is not set, so that pool and gates meet in {settings.state.folder}, which must belong to "
            f'{spec.account}. Better add to {configuration.file}:  folder = "/run/{spec.name}"'
        )
    return doubts


def _ours(name: str, keeper: Services | None) -> Services:
    """Who keeps the service, once it has proven to be one of Torchgate's: nobody else's is ended for a wrong name.

    Raises:
        ServiceProblem: it is another's, or there is none.
    """
    kept = keeper or services()
    command = kept.status(name).command
    if "torchgate" not in command.lower():
        raise ServiceProblem(f"{name} is no service of Torchgate: it runs {command}")
    return kept


def _done(call: Callable[[], None], sentence: str) -> int:
    try:
        call()
    except ServiceProblem as problem:
        return fail(f"{problem}.")
    say(sentence)
    return 0
