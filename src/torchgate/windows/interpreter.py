"""The interpreter that runs us, as another process must be told to start it."""

from __future__ import annotations

import sys


def interpreter() -> str:
    """The interpreter itself: a virtual environment's python.exe is a launcher that would start it as its child."""
    return str(getattr(sys, "_base_executable", sys.executable))


def virtual_environment() -> dict[str, str]:
    """What the launcher would have said to the interpreter.

    Source: CPython, Lib/multiprocessing/popen_spawn_win32.py, does the same.
    """
    return {} if interpreter() == sys.executable else {"__PYVENV_LAUNCHER__": sys.executable}
