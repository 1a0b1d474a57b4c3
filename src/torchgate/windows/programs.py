"""Runs programs of this system and waits for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import PureWindowsPath

from torchgate.contract.programs import ProgramAnswer


class WindowsPrograms:
    """Implements Programs."""

    def run(self, arguments: Sequence[str], timeout_s: float) -> ProgramAnswer:
        """Run one to its end.

        A bare name is a program of Windows itself: Windows would look into this process's own folder and the current
        one first, where anybody may have put another.
        """
        program = PureWindowsPath(arguments[0])
        if not program.is_absolute():
            program = PureWindowsPath(_system_folder()) / program.with_suffix(".exe")
        try:
            done = subprocess.run(
                [str(program), *arguments[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{arguments[0]} did not end within {timeout_s:g} s") from None
        return ProgramAnswer(done.returncode, done.stdout.decode("oem", "replace"))


def _system_folder() -> str:
    if sys.platform != "win32":
        raise OSError("this is not Windows")
    import win32api  # here: it exists on Windows alone

    return str(win32api.GetSystemDirectory())
