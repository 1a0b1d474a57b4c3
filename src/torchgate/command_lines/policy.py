"""The arguments of `torchgate policy …`."""

from __future__ import annotations

from torchgate.command_lines.grammar import DAY_S, Commands, command, count, later, of_project, of_server, path, seconds


def declare(policy: Commands) -> None:
    """The commands of the policy, offline and of a running server."""
    explain = command(
        policy,
        "explain",
        later("policy_commands", "explain_policy"),
        "why a request is allowed or denied, rule by rule; offline",
    )
    of_project(explain, has_project=False)
    who = explain.add_mutually_exclusive_group(required=True)
    who.add_argument("--principal", metavar="WHO", help="key:ID, development:NAME, or a role member as in [roles]")
    who.add_argument("--roles", metavar="A,B", help="roles, separated by commas; empty for none")
    who.add_argument(
        "--member", action="append", metavar="MEMBER", help="what is known of somebody, as in [roles]; repeatable"
    )
    who.add_argument("--token-file", type=path, metavar="FILE", help="whose bearer token is in this file; verified")
    explain.add_argument("--groups-unknown", action="store_true", help="not all groups of WHO or MEMBER are known")
    explain.add_argument("action", metavar="ACTION", help="infer, read, load, unload, metrics, admin …")
    explain.add_argument(
        "model", nargs="?", default="", metavar="MODEL", help="NAME or NAME:VERSION; absent: the server itself"
    )
    explain.add_argument("--version", default="", metavar="N", help="of the model (the one served by default)")
    explain.add_argument("--at", metavar="TIME", help="when, e.g. 2026-03-02T12:00:00+01:00 (now)")
    explain.add_argument("--rows", type=count, metavar="N", help="rows of the request (not known yet)")
    explain.add_argument("--bytes", type=count, metavar="N", help="bytes of its body (not known yet)")
    explain.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    test = command(
        policy,
        "test",
        later("policy_commands", "test_policy"),
        "ask your own cases; 1 where an answer is not as expected; offline",
    )
    test.add_argument("file", type=path, metavar="FILE", help="of [[cases]]")
    of_project(test, has_project=False)
    test.add_argument("--json", action="store_true", help="one JSON array, right answers included")
    _of_running_server(policy)


def _of_running_server(policy: Commands) -> None:
    texts = {
        "status": "which policy a running server goes by, and what is wrong with it",
        "reload": "have a running server read its policy, roles and hook again",
    }
    for verb, text in texts.items():
        one = command(policy, verb, later("client_commands", "policy_in_force"), text)
        one.set_defaults(verb=verb)
        of_server(one)
        one.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
        one.add_argument("--timeout-s", type=seconds(DAY_S), default=60.0, help="seconds to wait for the answer (60)")
