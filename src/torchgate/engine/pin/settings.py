"""The `[pin]` table of torchgate.toml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from torchgate.contract.settings_file import Settings


class PinSettings(Settings):
    """What a torchgate.lock beside torchgate.toml means; without that file, nothing of this happens."""

    mode: Literal["enforce", "warn", "off"] = "enforce"
    """`enforce`: no model is loaded into an installation that is not what the lock says, and no model version that is
    not in it; the server is not ready meanwhile. `warn`: the log says what differs. `off`: nobody looks."""

    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """How long a throw-away process may take to import torch and to compute on every locked device, in seconds."""
