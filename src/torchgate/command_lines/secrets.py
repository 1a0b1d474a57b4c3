"""The arguments of `torchgate secrets …`."""

from __future__ import annotations

from torchgate.command_lines.grammar import Commands, command, later, of_project, path


def declare(secrets: Commands) -> None:
    """The commands of secrets."""
    status = command(
        secrets,
        "status",
        later("secret_commands", "secrets_status"),
        "read each secret now, as this account; never show a value",
    )
    of_project(status)
    status.add_argument("--json", action="store_true", help="one JSON array instead of lines for people")
    protect = command(
        secrets,
        "protect",
        later("secret_commands", "protect_secret"),
        "seal a value from stdin for a dpapi: reference (Windows)",
    )
    protect.add_argument("file", type=path, metavar="FILE", help="where the sealed value goes; must not be there yet")
    protect.add_argument("--machine", action="store_true", help="for every account of this machine, not for this one")
