"""The job object that whoever started us has put us into."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import pywintypes
    import win32job

    def count_in_our_job() -> int | None:
        """How many living processes it holds, us among them; None where we are in none.

        Source: QueryInformationJobObject, Microsoft Learn: without a handle it is the caller's own job. Wine refuses.
        """
        try:
            # The stubs want a handle.
            told = win32job.QueryInformationJobObject(None, win32job.JobObjectBasicAccountingInformation)  # type: ignore[arg-type]
        except pywintypes.error:
            return None
        return int(told["ActiveProcesses"])
