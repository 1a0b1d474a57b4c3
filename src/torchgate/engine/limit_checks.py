"""What `check` says about limits of workers that this operating system does not hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from torchgate.contract.back_end import Artifact
from torchgate.contract.findings import Finding
from torchgate.engine.catalog import SETTINGS_FILE


def limit_checks(
    artifact: Artifact, *, system: str = os.name, processors: int = os.cpu_count() or 1
) -> Iterator[Finding]:
    """Examine `[resources]` of a model.

    Args:
        system: `nt` for Windows.
        processors: of this machine.
    """
    file = str(Path(artifact.folder).parent / SETTINGS_FILE)
    limits = artifact.limits
    unheld = [("max_processes", limits.processes), ("max_cpu_percent", limits.cpu_percent)]
    for name, value in unheld if system != "nt" else []:
        if value:
            yield Finding(
                "warning",
                f"it is {value}, and is not enforced on this system: Windows alone holds a worker to it.",
                file=file,
                setting=f"resources.{name}",
                remedy="On Linux use threads and resources.processors, or limits of the service that runs torchgate.",
            )
    missing = [number for number in limits.processors if number >= processors]
    if missing:
        yield Finding(
            "error",
            f"it names processor {missing[0]}; this machine has 0 to {processors - 1}.",
            file=file,
            setting="resources.processors",
        )
