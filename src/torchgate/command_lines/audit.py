"""The arguments of `torchgate audit …`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from torchgate.command_lines.grammar import Commands, command, count, of_project, path
from torchgate.terminal import WrongUse, note

if TYPE_CHECKING:
    from torchgate.config import TorchgateSettings


def declare(audit: Commands) -> None:
    """The audit trail's commands."""
    tail = command(audit, "tail", _tail, "print the newest events")
    of_project(tail)
    tail.add_argument("-n", "--count", type=count, default=20, help="how many (20)")
    tail.add_argument("-f", "--follow", action="store_true", help="go on with new ones until interrupted")
    tail.add_argument("--json", action="store_true", help="the events as they lie in the trail")
    verify = command(audit, "verify", _verify, "prove that nothing was changed, removed or cut off")
    of_project(verify)
    verify.add_argument("--folder", type=path, help="of a trail elsewhere, instead of the project's")
    verify.add_argument("--keys", type=path, metavar="FILE", help="public keys to believe, kept away from the trail")
    verify.add_argument(
        "--checkpoint", type=path, action="append", default=[], metavar="FILE", help="a known checkpoint; repeatable"
    )
    verify.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")


def _tail(parsed: argparse.Namespace) -> int:
    from torchgate.audit_commands import tail

    settings = _settings(parsed)
    return 1 if settings is None else tail(settings.audit_folder, parsed)


def _verify(parsed: argparse.Namespace) -> int:
    from torchgate.audit_commands import verify_trail

    if parsed.folder is not None:
        if parsed.config is not None or parsed.project != Path():
            raise WrongUse("a project and --folder name two trails. Name one of them.")
        return verify_trail(parsed.folder, parsed)
    settings = _settings(parsed)
    return 1 if settings is None else verify_trail(settings.audit_folder, parsed)


def _settings(parsed: argparse.Namespace) -> TorchgateSettings | None:
    """The settings of the project, or None after saying what is wrong with them."""
    from torchgate.config import read_configuration

    configuration = read_configuration(parsed.project, os.environ, parsed.set)
    for finding in configuration.findings:
        note(str(finding))
    return configuration.settings
