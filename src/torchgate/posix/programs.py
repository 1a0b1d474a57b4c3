"""Runs programs of this system and waits for them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from torchgate.contract.programs import ProgramAnswer


class PosixPrograms:
    """Implements Programs."""

    def run(self, arguments: Sequence[str], timeout_s: float) -> ProgramAnswer:
        """Run one to its end."""
        try:
            done = subprocess.run(
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{arguments[0]} did not end within {timeout_s:g} s") from None
        return ProgramAnswer(done.returncode, done.stdout.decode("utf-8", "replace"))
