"""What is used of the quotas, in plain values that can cross a pipe."""

from __future__ import annotations

from typing import Literal

import msgspec

QuotaUnit = Literal[
    "requests_per_minute",
    "concurrent_requests",
    "rows_per_minute",
    "request_bytes_per_minute",
    "compute_seconds_per_minute",
]
"""What a quota counts; also the name of the setting."""

SHARED = "shared"
"""Holder of a quota that all share. No principal's key: those have a colon or a bar."""


class QuotaUse(msgspec.Struct, frozen=True):
    """How much one holder has used of one limit of one quota.

    Args:
        quota: its name.
        unit: of the limit.
        limit: as set: per minute, or at a time.
        at_once: how much there is when nothing was used for long; differs from `limit` where burst_s is set.
        used: of `at_once`, and not come back yet; more than it while compute-seconds are owed.
        holder: key of a principal, or `shared`.
        model: that the quota is about; empty: all together.
    """

    quota: str
    unit: QuotaUnit
    limit: float
    at_once: float
    used: float
    holder: str
    model: str = ""


class QuotaTotal(msgspec.Struct, frozen=True):
    """One limit of one quota over all its holders: what metrics may show, because its size is that of the settings.

    Args:
        quota, unit, limit: as in QuotaUse.
        refusals: since the pool started.
        holders: that have used some of it that has not come back.
        exhausted: of these, those for whom there is no room for one more now.
        highest_use: of one holder, as a share of what there is at once; 1 is all of it.
    """

    quota: str
    unit: QuotaUnit
    limit: float
    refusals: int
    holders: int
    exhausted: int
    highest_use: float
