"""Whether IIS's module would let this server's processes into its job."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.contract.findings import Finding

MAX_JOB_PROCESSES = 16
"""Source: ASP.NET Core Module V2 and HttpPlatformHandler v2, serverprocess.cpp (MAX_ACTIVE_CHILD_PROCESSES)."""


def job_check(processes: int | None) -> Iterator[Finding]:
    """For a server whose port a module waits for, and that a launcher has started as its child.

    A warning, because the module itself decides; where it gives up, its event log has this sentence, too.

    Args:
        processes: of the job that we run in; None: there is none, or it can't be seen.
    """
    if processes is None or processes <= MAX_JOB_PROCESSES:
        return
    yield Finding(
        "warning",
        f"the job in which IIS started this server holds {processes} processes, and its module gives up above "
        f"{MAX_JOB_PROCESSES} where a virtual environment's launcher listens by its child.",
        remedy="Let processPath name this environment's python.exe with the arguments -m torchgate, and no script "
        "that starts other programs first.",
    )
