"""What `check` and `doctor` say about audit and logging settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from torchgate.contract.findings import Finding
from torchgate.telemetry.settings import AuditSettings


def checks(audit: AuditSettings, folder: Path) -> Iterator[Finding]:
    """Examine the audit settings against the folder of the trail.

    Args:
        audit: `[audit]`.
        folder: where the trail will lie, absolute.
    """
    if audit.durability_refused == "bounded" or audit.durability_admin == "bounded":
        yield Finding(
            "warning",
            f"refusals and changes are on disk only up to {audit.sync_interval_s:g} s after their answers:"
            " a power cut loses the newest.",
            setting="audit.durability_refused" if audit.durability_refused == "bounded" else "audit.durability_admin",
            remedy='"strict" is the default for both.',
        )
    nearest = next((place for place in (folder, *folder.parents) if place.exists()), None)
    if folder.exists() and not folder.is_dir():
        yield Finding("error", f"{folder} is no folder.", setting="audit.folder", remedy="Name another one.")
    elif nearest is not None and not os.access(nearest, os.W_OK):
        yield Finding(
            "error",
            f"{nearest} can't be written by this account, and without an audit trail nothing is answered.",
            setting="audit.folder",
            remedy="Give the account the right to write there, or name another folder.",
        )
