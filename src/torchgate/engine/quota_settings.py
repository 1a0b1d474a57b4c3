"""The `[[quotas]]` tables of torchgate.toml: how much principals may use per minute, or at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from torchgate.contract.quota_use import QuotaUnit
from torchgate.contract.settings_file import Settings

UNITS: tuple[QuotaUnit, ...] = (
    "requests_per_minute",
    "concurrent_requests",
    "rows_per_minute",
    "request_bytes_per_minute",
    "compute_seconds_per_minute",
)
_SELECTORS = ("role", "principal", "model")

Name = Annotated[str, Field(min_length=1, max_length=256)]


class QuotaSettings(Settings):
    """One quota: whom it is about, and how much they may use. Every quota that is about a request must have room."""

    name: Annotated[str, Field(max_length=64)] = ""
    """For sentences, metrics and `models status`; empty: made from what it selects."""

    role: Name | None = None
    """Principals of this role."""

    principal: Name | None = None
    """The principal of this key, as `/whoami` shows it, e.g. `key:ops`."""

    model: Name | None = None
    """Requests to this model, all its versions together; without it requests to all models count together."""

    shared: bool = False
    """One budget for all whom it selects, instead of one for each principal."""

    requests_per_minute: Annotated[int, Field(ge=1, le=10**9)] | None = None
    """Requests that may begin."""

    concurrent_requests: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Requests between the door and the end of their answer."""

    rows_per_minute: Annotated[int, Field(ge=1, le=10**12)] | None = None
    """Rows that may enter a queue."""

    request_bytes_per_minute: Annotated[int, Field(ge=1, le=10**15)] | None = None
    """Bytes of the inputs, decoded and inflated; until they are decoded a request counts with what it announces."""

    compute_seconds_per_minute: Annotated[float, Field(gt=0, le=10**6, allow_inf_nan=False)] | None = None
    """Time of workers, as measured: a batch's time is shared by its rows. Known only afterwards, so that it may be
    overdrawn: then nothing more is let in until it has been paid back."""

    burst_s: Annotated[float, Field(ge=0.1, le=3600, allow_inf_nan=False)] = 60.0
    """How many seconds' worth may be used at once after a pause; also for how long use is remembered."""

    @model_validator(mode="after")
    def _is_about_something(self) -> QuotaSettings:
        if all(getattr(self, selector) is None for selector in _SELECTORS):
            raise PydanticCustomError("no_selector", "selects nobody; set role, principal or model")
        if not any(True for _ in self.limits()):
            raise PydanticCustomError("no_limit", "limits nothing; set at least one of {units}", {"units": _UNIT_LIST})
        return self

    def limits(self) -> Iterator[tuple[QuotaUnit, float]]:
        """The limits that are set."""
        for unit in UNITS:
            limit = getattr(self, unit)
            if limit is not None:
                yield unit, float(limit)

    def at_once(self, unit: QuotaUnit) -> float:
        """How much of a limit that is set can be used at one moment."""
        limit = float(getattr(self, unit))
        return limit if unit == "concurrent_requests" else limit * self.burst_s / 60.0

    def selection(self) -> tuple[str | None, str | None, str | None]:
        """Role, principal, model."""
        return self.role, self.principal, self.model


_UNIT_LIST = ", ".join(UNITS)


def quota_name(quota: QuotaSettings, index: int) -> str:
    """What it is called; a principal's key never becomes part of a name that nobody chose, because metrics show it."""
    if quota.name:
        return quota.name
    if quota.principal is not None:
        return f"quotas.{index}"
    chosen = [f"{word} {value}" for word in ("role", "model") if (value := getattr(quota, word)) is not None]
    return ", ".join([*chosen, "shared"] if quota.shared else chosen)
