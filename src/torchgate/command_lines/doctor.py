"""The arguments of `torchgate doctor`."""

from __future__ import annotations

from torchgate.command_lines.grammar import Commands, command, later, of_project, path


def declare(commands: Commands) -> None:
    """The command."""
    doctor = command(
        commands,
        "doctor",
        later("doctor.command", "doctor"),
        "examine this installation as the account that runs it, and say what to do",
    )
    of_project(doctor)
    doctor.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    doctor.add_argument("--all", action="store_true", help="also list what was skipped, and why")
    doctor.add_argument(
        "--out", type=path, metavar="FILE", help="write it there: for whoever is started without a terminal"
    )
    doctor.add_argument("--area", action="append", default=[], metavar="AREA", help="only this area; repeatable")
