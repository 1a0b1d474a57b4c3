"""Answers about quotas: to everybody about its own use, to those with the right about everybody's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from torchgate.contract.quota_use import QuotaUse
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpResponse, json_response


async def own_quotas(exchange: Exchange) -> HttpResponse:
    """Every quota that is about the caller, used or not; of a shared one, what all have used."""
    principal = exchange.principal
    uses = () if principal is None else await exchange.services.engine.quota_use(principal)
    return _answer(uses)


async def all_quotas(exchange: Exchange) -> HttpResponse:
    """What everybody uses who has used anything that has not come back."""
    return _answer(await exchange.services.engine.quota_use(None))


def _answer(uses: Iterable[QuotaUse]) -> HttpResponse:
    return json_response(200, orjson.dumps({"quotas": [_shown(use) for use in uses]}))


def _shown(use: QuotaUse) -> dict[str, Any]:
    return {
        "quota": use.quota,
        "unit": use.unit,
        "limit": use.limit,
        "at_once": use.at_once,
        "used": round(use.used, 6),
        "holder": use.holder,
        "model": use.model or None,
    }
