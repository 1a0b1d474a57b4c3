"""The policy in force: asked about and changed by those with the right to administer."""

from __future__ import annotations

import orjson

from torchgate.contract.errors import Forbidden, InvalidRequest, Unsupported
from torchgate.contract.policy_status import KeepsPolicy, PolicyStatus
from torchgate.gate.exchange import Exchange
from torchgate.gate.http_message import HttpResponse, json_response
from torchgate.gate.options_body import read_options


async def policy_status(exchange: Exchange) -> HttpResponse:
    """Which policy is in force, and what is wrong with it."""
    return _answer(_policy(exchange).status())


async def policy_reload(exchange: Exchange) -> HttpResponse:
    """Put in force what the files say now.

    Raises:
        Conflict: they say nothing that a server would start with; the policy before stays in force.
        InvalidRequest: the caller wants to bring a policy of its own.
    """
    if await read_options(exchange, "{}"):
        raise InvalidRequest("The body must be empty: a policy comes from the server's own files alone.")
    principal = exchange.principal
    if principal is None:
        raise Forbidden("This principal may not do this here.", detail="nobody was authenticated")
    return _answer(await _policy(exchange).reload(principal))


def _policy(exchange: Exchange) -> KeepsPolicy:
    policy = exchange.services.policy
    if policy is None:
        raise Unsupported("The policy of this server does not change while it runs.")
    return policy


def _answer(status: PolicyStatus) -> HttpResponse:
    return json_response(
        200,
        orjson.dumps(
            {
                "version": status.version,
                "since": status.since,
                "is_amber": bool(status.troubles),
                "troubles": status.troubles,
                "waits_for_restart": status.waits_for_restart,
            }
        ),
    )
