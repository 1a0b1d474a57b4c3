"""What `check` says about limits of workers that this operating system does not hold."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from torchgate.contract.back_end import Artifact
from torchgate.contract.findings import Finding
from torchgate.engine.catalog import SETTINGS_FILE

_NEEDED = {"processes": "pids", "cpu_percent": "cpu"}
"""Controllers of a control group without which Linux does not hold a worker to a limit."""

_REMEDY = "See docs/explanation/what-a-worker-can-do.md for control groups; else use threads and resources.processors."


def limit_checks(
    artifact: Artifact,
    controllers: Collection[str],
    *,
    system: str = os.name,
    processors: int = os.cpu_count() or 1,
) -> Iterator[Finding]:
    """Examine `[resources]` of a model.

    Args:
        controllers: that control groups of workers would have here.
        system: `nt` for Windows.
        processors: of this machine.
    """
    file = str(Path(artifact.folder).parent / SETTINGS_FILE)
    limits = artifact.limits
    for limit, controller in _NEEDED.items() if system != "nt" else []:
        value = getattr(limits, limit)
        if value and controller not in controllers:
            yield Finding(
                "warning",
                f"it is {value}, and is not enforced: workers started from here get no control group with "
                f"'{controller}'.",
                file=file,
                setting=f"resources.max_{limit}",
                remedy=_REMEDY,
            )
    missing = [number for number in limits.processors if number >= processors]
    if missing:
        yield Finding(
            "error",
            f"it names processor {missing[0]}; this machine has 0 to {processors - 1}.",
            file=file,
            setting="resources.processors",
        )
