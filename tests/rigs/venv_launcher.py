"""What python.exe of a virtual environment does on Windows: `venv_launcher.py ARGUMENTS` runs Python with them.

The interpreter is a child in a job that ends with the launcher and lets go of what the child starts itself; control
events are the child's business alone. Source: CPython, PC/launcher.c, run_child.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

if sys.platform == "win32":
    import win32api
    import win32job


def job() -> Any:
    """A job that ends with its last handle, ours, and that grandchildren leave."""
    made: Any = win32job.CreateJobObject(None, "")
    limits = win32job.QueryInformationJobObject(made, win32job.JobObjectExtendedLimitInformation)
    limits["BasicLimitInformation"]["LimitFlags"] = (
        win32job.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | win32job.JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK
    )
    win32job.SetInformationJobObject(made, win32job.JobObjectExtendedLimitInformation, limits)
    return made


def main() -> int:
    """Run it; its exit code."""
    held = job()
    win32api.SetConsoleCtrlHandler(None, True)
    child = subprocess.Popen([sys.executable, *sys.argv[1:]])
    win32job.AssignProcessToJobObject(held, int(child._handle))  # type: ignore[attr-defined]
    return child.wait()


if __name__ == "__main__":
    sys.exit(main())
