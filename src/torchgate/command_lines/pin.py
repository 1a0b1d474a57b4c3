"""The arguments of `torchgate pin`."""

from __future__ import annotations

import argparse

from torchgate.command_lines.grammar import of_project, seconds

_LONGEST_S = 3600.0


def declare(pin: argparse.ArgumentParser) -> None:
    """The arguments of the one command that writes and verifies the lock."""
    pin.add_argument("--verify", action="store_true", help="write nothing; say what differs from the lock")
    pin.add_argument("--files", action="store_true", help="with --verify: read every installed file, too")
    pin.add_argument("--timeout-s", type=seconds(_LONGEST_S), help="seconds for the process that looks (pin.timeout_s)")
    pin.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    of_project(pin)
