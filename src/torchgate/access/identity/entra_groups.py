"""The groups of a caller whom Entra's token says only that they are too many; asked of Microsoft Graph.

What the token itself says to ask (`_claim_sources`) is never asked: a token does not send us anywhere. Only the first
request of a token waits, and not for long; whatever goes wrong, groups stay unknown, which denies.

Source: Microsoft, "Configure group claims", groups overage; Graph `getMemberGroups`; identity.md section 1.3.
"""

from __future__ import annotations

import asyncio
import logging
import urllib.parse
from pathlib import Path
from typing import Protocol

import msgspec

from torchgate.access.graph_settings import GraphSettings
from torchgate.access.identity.download import Downloader, Posted
from torchgate.access.identity.entra_issuer import GUID, read_entra_issuer
from torchgate.access.identity.profile import Claims
from torchgate.access.identity.published_keys import KeysUnreadable
from torchgate.access.oidc_settings import OidcSettings
from torchgate.contract.clock import Clock

_JSON = ("application/json",)
_AT_ONCE = 4  # questions to Graph at the same time; more wait their turn within their own time
_MAX_GROUPS = 11_000  # what getMemberGroups gives at most
_EARLY_S = 60.0  # seconds before its end that a token for Graph is replaced
_log = logging.getLogger("torchgate.access")


class AsksForSecret(Protocol):
    """A secret of `[secrets]`, as it is used here."""

    def current(self) -> bytes:
        """The value to send."""
        ...


class _Remembered(msgspec.Struct, frozen=True):
    groups: frozenset[str] | None
    until: float


class _GraphToken(msgspec.Struct, frozen=True):
    text: str = ""
    until: float = 0.0


class EntraGroups:
    """Finds the groups of callers of one issuer.

    Args:
        settings: of the issuer; its `graph` is there.
        graph: that.
        secret: the client's.
        folder: where a relative `ca_file` starts.
        clock: seconds, monotonic.

    Thread/process: one event loop.
    """

    def __init__(
        self, settings: OidcSettings, graph: GraphSettings, secret: AsksForSecret, folder: Path, clock: Clock
    ) -> None:
        entra = read_entra_issuer(settings.issuer)
        self._authority = "" if entra is None else entra.host
        self._graph = graph
        self._secret = secret
        self._clock = clock
        ca_file = None if settings.ca_file is None else folder / settings.ca_file
        self._downloaders = asyncio.Queue[Downloader]()
        for _ in range(_AT_ONCE):
            self._downloaders.put_nowait(Downloader(ca_file, graph.timeout_s))
        self._tokens: dict[str, _GraphToken] = {}
        self._remembered: dict[tuple[str, str], _Remembered] = {}
        self._flights: dict[tuple[str, str], asyncio.Task[frozenset[str] | None]] = {}

    async def find(self, claims: Claims) -> frozenset[str] | None:
        """Object ids of the caller's groups, nested ones included; None where they can't be learnt now.

        Args:
            claims: that have passed every rule.
        """
        caller = str(claims["tid"]), str(claims["oid"])
        known = self._remembered.get(caller)
        if known is not None and self._clock() < known.until:
            return known.groups
        flight = self._flights.get(caller)
        if flight is None:
            flight = self._flights[caller] = asyncio.create_task(self._look_up(caller, is_app="scp" not in claims))
            flight.add_done_callback(lambda _: self._flights.pop(caller, None))
        await asyncio.wait({flight}, timeout=self._graph.timeout_s)
        return flight.result() if flight.done() and not flight.cancelled() else None

    async def start(self) -> None:
        """Nothing is asked before somebody needs it."""

    async def stop(self) -> None:
        """End the look-ups that are under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def good_for_s(self, groups: frozenset[str] | None) -> float:
        """Seconds for which an answer may be remembered."""
        return self._graph.retry_s if groups is None else self._graph.remember_s

    async def _look_up(self, caller: tuple[str, str], *, is_app: bool) -> frozenset[str] | None:
        groups: frozenset[str] | None = None
        try:
            async with asyncio.timeout(2 * self._graph.timeout_s):
                groups = await self._asked(*caller, "servicePrincipals" if is_app else "users")
        except (KeysUnreadable, TimeoutError) as error:
            _log.warning("Groups can't be looked up: %s.", str(error) or "no answer in time")
        except Exception as error:  # noqa: BLE001 - whatever Graph answers, groups stay unknown and nothing fails
            _log.warning("Groups can't be looked up: unexpected %s.", type(error).__name__)
        if len(self._remembered) >= self._graph.max_remembered:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[caller] = _Remembered(groups, self._clock() + self.good_for_s(groups))
        return groups

    async def _asked(self, tenant: str, oid: str, kind: str) -> frozenset[str]:
        token = await self._token(tenant)
        answer = await self._post(
            f"{self._graph.endpoint}/v1.0/{kind}/{oid}/getMemberGroups",
            Posted(b'{"securityEnabledOnly":false}', "application/json", token),
        )
        found = answer.get("value")
        if not isinstance(found, list) or len(found) > _MAX_GROUPS:
            raise KeysUnreadable("Graph's answer has no list of groups")
        if not all(isinstance(group, str) and GUID.fullmatch(group) for group in found):
            raise KeysUnreadable("Graph's answer has groups that are no object ids")
        return frozenset(found)

    async def _token(self, tenant: str) -> str:
        known = self._tokens.get(tenant)
        if known is not None and self._clock() < known.until:
            return known.text
        form = {
            "grant_type": "client_credentials",
            "client_id": self._graph.client_id,
            "client_secret": self._secret.current().decode("utf-8"),
            "scope": f"{self._graph.endpoint}/.default",
        }
        answer = await self._post(
            f"{self._authority}/{tenant}/oauth2/v2.0/token",
            Posted(urllib.parse.urlencode(form).encode("ascii"), "application/x-www-form-urlencoded"),
        )
        text, lifetime_s = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable() or type(lifetime_s) is not int:
            raise KeysUnreadable("the answer to the request for a token for Graph has none")
        self._tokens[tenant] = _GraphToken(text, self._clock() + lifetime_s - _EARLY_S)
        return text

    async def _post(self, url: str, posted: Posted) -> dict[str, object]:
        downloader = await self._downloaders.get()
        try:
            document = await downloader.fetch(url, _JSON, posted)
        finally:
            self._downloaders.put_nowait(downloader)
        try:
            found = msgspec.json.decode(document)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise KeysUnreadable(f"no JSON from {url}") from error
        if not isinstance(found, dict):
            raise KeysUnreadable(f"no JSON object from {url}")
        return found
