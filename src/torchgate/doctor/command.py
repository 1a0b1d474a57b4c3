"""The command: examine, print, and say by the exit code whether anything is red."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from torchgate import __version__
from torchgate.contract.whole_files import write_whole
from torchgate.doctor.checks import CHECKS
from torchgate.doctor.examine import examine
from torchgate.doctor.report import human_lines, json_text, report_of, verdict_line
from torchgate.doctor.world import world_here
from torchgate.terminal import WrongUse, fail, say


def doctor(parsed: argparse.Namespace) -> int:
    """Examine this installation as the account that runs this; 1 where anything is red.

    Raises:
        WrongUse: there is no such area.
    """
    areas = list(dict.fromkeys(check.area for check in CHECKS))
    if unknown := [area for area in parsed.area if area not in areas]:
        raise WrongUse(f"there is no area {unknown[0]!r}; there are {', '.join(areas)}.")
    # What a check finds out is its finding; a line of the server's log between would be said twice.
    logging.getLogger("torchgate").addHandler(logging.NullHandler())
    world = world_here(parsed.project, parsed.set, version=__version__)
    is_broken = world.configuration.settings is None
    # Mistakes of the configuration are told whatever was asked for: nearly all else is skipped because of them.
    checks = [
        check
        for check in CHECKS
        if not parsed.area or check.area in parsed.area or (is_broken and check.name == "configuration")
    ]
    report = report_of(examine(checks, world), world)
    text = json_text(report) if parsed.json else "\n".join(human_lines(report, is_whole=parsed.all))
    if parsed.out is None:
        say(text)
    else:
        try:
            if not _may_be_replaced(parsed.out):
                return fail(f"{parsed.out} is there already, and is no report of doctor. Name another file by --out.")
            write_whole(parsed.out, f"{text}\n".encode("utf-8", "backslashreplace"))
        except OSError as error:
            return fail(f"{parsed.out} can't be written: {error.strerror or error}.")
        say(f"wrote {parsed.out}: {verdict_line(report)}")
    return 0 if report.passed else 1


def _may_be_replaced(file: Path) -> bool:
    """Whether there is nothing, or an earlier report: a wrong name must not cost anybody their settings."""
    if not os.path.lexists(file):
        return True
    if not file.is_file():  # a pipe would wait for a reader
        return False
    with file.open("rb") as opened:
        return opened.read(64).lstrip().startswith((b"torchgate ", b'{\n  "version"', b'{\r\n  "version"'))
