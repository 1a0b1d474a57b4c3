"""The `[audit]` and `[telemetry]` tables of torchgate.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from torchgate.contract.settings_file import Settings

Durability = Literal["strict", "bounded"]


class AuditSettings(Settings):
    """Where the audit trail lies, and how durable an event is before its answer leaves."""

    folder: Path | None = None
    """Folder of the trail; absent: `audit` in the state folder."""

    durability_allowed: Durability = "bounded"
    """Of requests that identity and policy let through. `bounded`: with the operating system before the answer
    leaves, on disk within sync_interval_s. `strict`: on disk before the answer leaves."""

    durability_refused: Durability = "strict"
    """Of refusals by identity or policy."""

    durability_admin: Durability = "strict"
    """Of actions that change something (load, unload, admin), and of life-cycle events."""

    sync_interval_s: Annotated[float, Field(ge=0.01, le=1.0)] = 0.2
    """`bounded` events are on disk after at most this long, in seconds, as far as the disk itself keeps up."""

    segment_bytes: Annotated[int, Field(ge=4096, le=1 << 32)] = 64 << 20
    """A segment that has reached this length, in bytes, is sealed, and the next one opened."""

    checkpoint_events: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """A checkpoint is signed after so many events …"""

    checkpoint_interval_s: Annotated[float, Field(ge=0.1, le=3600.0)] = 10.0
    """… or after this many seconds, where there are new events."""

    max_queue_events: Annotated[int, Field(ge=16, le=1_000_000)] = 10_000
    """Events that wait for the disk at most; beyond it requests are answered with 503."""

    max_queue_bytes: Annotated[int, Field(ge=65_536, le=1 << 30)] = 16 << 20
    """Their bytes at most."""


class TelemetrySettings(Settings):
    """Log lines of the server itself."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lines below it are not written; the one line per request is `info`."""

    log_format: Literal["auto", "json", "human"] = "auto"
    """`auto`: `human` on a terminal, `json` elsewhere."""
