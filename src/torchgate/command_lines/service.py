"""The arguments of `torchgate service …`."""

from __future__ import annotations

from torchgate.command_lines.grammar import DAY_S, Commands, command, later, of_project, path, seconds

_VERBS = {
    "uninstall": "stop the service and take it away; what it has written stays",
    "start": "start the service, and wait until gates are let in",
    "stop": "stop the service, and wait until it has",
    "status": "whether the service runs (exit code 0)",
}


def declare(service: Commands) -> None:
    """The commands that make the pool a service, and what the system starts then."""
    install = command(
        service,
        "install",
        later("service_commands", "install"),
        "have Windows, or systemd, start the project's pool with the system",
    )
    of_project(install)
    install.add_argument("--account", metavar="NAME", help="that it runs as (NT SERVICE\\NAME; on Linux torchgate)")
    install.add_argument(
        "--state-folder",
        metavar="DIR",
        help="of the pool alone (%%ProgramData%%\\Torchgate\\NAME; on Linux /var/lib/NAME)",
    )
    install.add_argument("--dry-run", action="store_true", help="print what would be made, and change nothing")
    others = {verb: command(service, verb, later("service_commands", verb), text) for verb, text in _VERBS.items()}
    for verb, one in {"install": install, **others}.items():
        one.add_argument("--name", default="torchgate-pool", help="of the service (torchgate-pool)")
        if verb in {"uninstall", "start", "stop"}:
            one.add_argument("--timeout-s", type=seconds(DAY_S), default=180.0, help="seconds to wait for it (180)")
    others["status"].add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    _declare_host(service)


def _declare_host(service: Commands) -> None:
    host = command(service, "host", later("service_app", "host"), "be the service: Windows starts it, and nobody else")
    of_project(host)
    host.add_argument("--name", required=True, help="of the service")
    host.add_argument("--log-folder", type=path, required=True, metavar="DIR", help="for what it has to say")
    host.add_argument("--start-timeout-s", type=seconds(DAY_S), default=120.0, help="that Windows is told (120)")
    host.add_argument("--stop-timeout-s", type=seconds(DAY_S), default=30.0, help="the same for its end (30)")
