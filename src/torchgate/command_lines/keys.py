"""The arguments of `torchgate keys …`."""

from __future__ import annotations

from torchgate.command_lines.grammar import Commands, command, later, of_project


def declare(keys: Commands) -> None:
    """The commands of API keys."""
    new = command(
        keys,
        "new",
        later("keys_commands", "new_key"),
        "make an API key: print it once, and keep its hash in keys.toml",
    )
    new.add_argument("id", metavar="ID", help="its name in roles and audit: letters, digits, '-'")
    new.add_argument("--name", default="", metavar="TEXT", help="for people")
    new.add_argument("--roles", metavar="A,B", help="its roles, separated by commas")
    new.add_argument("--expires", metavar="WHEN", help="a span like 90d (m, h, d, w), or a date (never)")
    new.add_argument("--rotate", action="store_true", help="give the key ID a new value; the former counts for a while")
    new.add_argument("--overlap", metavar="SPAN", help="how long it does (7d)")
    new.add_argument("--print", action="store_true", help="write nothing; print the lines for torchgate.toml")
    of_project(new, has_project=False)
    listing = command(
        keys,
        "list",
        later("keys_commands", "list_keys"),
        "API keys with their states: valid, expires soon, rotating, expired",
    )
    of_project(listing)
    listing.add_argument("--json", action="store_true", help="one JSON array instead of lines for people")
    revoke = command(
        keys,
        "revoke",
        later("keys_commands", "revoke_key"),
        "take an API key out of service; a running server obeys at once",
    )
    revoke.add_argument("id", metavar="ID", help="of the key")
    of_project(revoke, has_project=False)
