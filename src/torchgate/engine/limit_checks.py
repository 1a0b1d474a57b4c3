"""What `check` says about limits of workers that this operating system does not hold."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from torchgate.contract.back_end import Artifact
from torchgate.contract.findings import Finding
from torchgate.contract.worker_limits import WorkerLimits
from torchgate.engine.catalog import SETTINGS_FILE
from torchgate.engine.settings import EngineSettings

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
    for finding in _unheld(limits, controllers, system, "resources.max_"):
        yield msgspec.structs.replace(finding, file=file)
    missing = [number for number in limits.processors if number >= processors]
    if missing:
        yield Finding(
            "error",
            f"it names processor {missing[0]}; this machine has 0 to {processors - 1}.",
            file=file,
            setting="resources.processors",
        )


def engine_limit_checks(
    engine: EngineSettings, controllers: Collection[str], *, system: str = os.name
) -> Iterator[Finding]:
    """Examine what `[engine]` says for models that say nothing; as `limit_checks`."""
    return _unheld(engine.limits_of(WorkerLimits()), controllers, system, "engine.worker_max_")


def _unheld(limits: WorkerLimits, controllers: Collection[str], system: str, prefix: str) -> Iterator[Finding]:
    for limit, controller in _NEEDED.items() if system != "nt" else []:
        value = getattr(limits, limit)
        if value and controller not in controllers:
            yield Finding(
                "warning",
                f"it is {value}, and is not enforced: workers started from here get no control group with "
                f"'{controller}'.",
                setting=f"{prefix}{limit}",
                remedy=_REMEDY,
            )
