"""What `check` says about `[[quotas]]`: names that do not exist, quotas that say the same, and those that stop all."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from torchgate.contract.decision import ModelRef
from torchgate.contract.findings import Finding
from torchgate.contract.settings_file import nearest
from torchgate.contract.tensors import ITEM_BYTES, Signature
from torchgate.engine.quota_settings import QuotaSettings, quota_name

if TYPE_CHECKING:  # every gate examines quotas at its start, and has no catalog
    from torchgate.engine.catalog import CatalogEntry


def quota_checks(quotas: Sequence[QuotaSettings], roles: Collection[str]) -> Iterator[Finding]:
    """The mistakes that the quotas have by themselves; any of these keeps the server from starting.

    Args:
        roles: that exist.
    """
    for index, quota in enumerate(quotas):
        place = f"quotas.{index}"
        if quota.role is not None and quota.role not in roles:
            hint = nearest(quota.role, sorted(roles)) if roles else "There are none."
            yield Finding("error", f"there is no role {quota.role!r}. {hint}", setting=f"{place}.role")
        yield from _twice(quotas, index)
        for unit, limit in quota.limits():
            if unit in ("requests_per_minute", "rows_per_minute") and quota.at_once(unit) < 1.0:
                yield Finding(
                    "error",
                    f"can never let a request through: {limit:g} each minute are {quota.at_once(unit):g} in burst_s = "
                    f"{quota.burst_s:g}, and a request needs 1.",
                    setting=f"{place}.{unit}",
                    remedy=f"Make burst_s at least {math.ceil(600.0 / limit) / 10.0:g}, or leave it out.",
                )


def quota_model_checks(quotas: Sequence[QuotaSettings], entries: Mapping[ModelRef, CatalogEntry]) -> Iterator[Finding]:
    """What the quotas say about models; a model may still come."""
    names = sorted({ref.name for ref in entries})
    for index, quota in enumerate(quotas):
        if quota.model is not None and quota.model not in names:
            hint = nearest(quota.model, names) if names else "There are no models."
            yield Finding("warning", f"there is no model {quota.model!r}. {hint}", setting=f"quotas.{index}.model")
        if quota.request_bytes_per_minute is None:
            continue
        at_once = quota.at_once("request_bytes_per_minute")
        for ref, entry in sorted(entries.items()):
            needed = _least_bytes(entry.artifact.signature)
            if quota.model in (None, ref.name) and not entry.mistake and needed > at_once:
                yield Finding(
                    "warning",
                    f"can never let a request to model {ref} through: one row has {needed} bytes, and there are never "
                    f"more than {at_once:g} at once.",
                    setting=f"quotas.{index}.request_bytes_per_minute",
                )


def _twice(quotas: Sequence[QuotaSettings], index: int) -> Iterator[Finding]:
    names = [quota_name(quota, place) for place, quota in enumerate(quotas)]
    earlier = range(index)
    same = [place for place in earlier if quotas[place].selection() == quotas[index].selection()]
    for place in same:
        units = {unit for unit, _ in quotas[index].limits()} & {unit for unit, _ in quotas[place].limits()}
        if units and quotas[place].shared == quotas[index].shared:
            yield Finding(
                "error",
                f"selects the same as quotas.{place} and limits {', '.join(sorted(units))} again; the lower one would "
                "always win.",
                setting=f"quotas.{index}",
                remedy="Leave one of them out.",
            )
            return
    if names[index] in names[:index]:
        yield Finding(
            "error",
            f"{names[index]!r} is the name of quotas.{names.index(names[index])} already; each is allowed once.",
            setting=f"quotas.{index}.name" if quotas[index].name else f"quotas.{index}",
            remedy="" if quotas[index].name else "Give this one a name.",
        )


def _least_bytes(signature: Signature) -> int:
    """What one row of all inputs has at least: open dimensions and texts may be empty."""
    total = 0
    for spec in signature.inputs:
        size = ITEM_BYTES.get(spec.datatype, 0)
        for length in spec.shape:
            size *= max(0, length)
        total += size
    return total
