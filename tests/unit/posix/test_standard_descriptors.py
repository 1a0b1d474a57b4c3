"""What was closed is /dev/null, and what was open stays."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.linux("file descriptors are what they are there")

PROGRAM = """
import os
from torchgate.posix.standard_descriptors import fill_standard_descriptors
fill_standard_descriptors()
null = os.stat(os.devnull)
text = " ".join("null" if os.path.samestat(os.fstat(fd), null) else "open" for fd in (0, 1, 2))
free = os.open(os.devnull, os.O_RDONLY)
os.write({report}, f"{{text}} {{free > 2}}".encode())
"""


@pytest.mark.parametrize(
    ("closed", "report", "found"),
    [("", 1, "null open open True"), ("<&-", 1, "null open open True"), ("<&- 2>&-", 1, "null open null True")],
)
def test_what_is_missing_is_filled(closed: str, report: int, found: str) -> None:
    line = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", PROGRAM.format(report=report)]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=240, check=True)
    assert done.stdout.decode() == found
