"""Principals of Windows tokens: a user by its SID, its groups by theirs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec

from torchgate.access.identity.presented import Presented
from torchgate.access.identity.rejection import reject
from torchgate.access.sids import SERVICE_ACCOUNTS, is_nearly_everybody, nobody
from torchgate.access.windows_settings import WindowsSettings
from torchgate.contract.principal import Principal
from torchgate.contract.windows_tokens import TokenFacts

WINDOWS_ISSUER = "windows"
MAX_REMEMBERED = 10_000


class WindowsUsers:
    """Makes principals of what a token said, whose handle is closed by now.

    Args:
        settings: whose tokens count.
        with_roles: gives a principal its roles.
        configured_sids: SIDs that roles name themselves; of the groups that nearly everybody is in, these alone count.
        name_of: SID → name for people; asks nobody, and gives the SID where it knows none.
    """

    def __init__(
        self,
        settings: WindowsSettings,
        *,
        with_roles: Callable[[Principal], Principal],
        configured_sids: frozenset[str],
        name_of: Callable[[str], str],
    ) -> None:
        self._settings = settings
        self._with_roles = with_roles
        self._configured_sids = configured_sids
        self._name_of = name_of
        self._remembered: OrderedDict[TokenFacts, Principal] = OrderedDict()

    def cached(self, presented: Presented) -> Principal | None:
        """The principal; none needs I/O. The same facts give the same principal, whatever handle they came from."""
        facts = presented.windows
        if facts is None:
            return None
        name = self._name_of(facts.sid)
        principal = remembered = self._remembered.get(facts)
        if principal is None:
            if refusal(facts, self._settings):
                return None
            principal = self._with_roles(self._principal(facts, name))
        elif principal.name != name:
            principal = msgspec.structs.replace(principal, name=name)
        if principal is not remembered:
            self._remember(facts, principal)
        return principal

    async def authenticate(self, presented: Presented) -> Principal:
        """The principal.

        Raises:
            RejectedCredential: such a token counts for nobody.
        """
        principal = self.cached(presented)
        if principal is None:
            facts = presented.windows
            raise reject("no Windows token" if facts is None else refusal(facts, self._settings))
        return principal

    def _principal(self, facts: TokenFacts, name: str) -> Principal:
        return Principal(
            key=facts.sid,
            name=name,
            method="windows",
            issuer=WINDOWS_ISSUER,
            marks=self._marks((facts.sid, *facts.groups)),
            denial_marks=self._marks(facts.denial_groups),
            credential_id=facts.logon_session,
        )

    def _marks(self, sids: Iterable[str]) -> frozenset[str]:
        configured = self._configured_sids
        return frozenset(f"sid:{sid}" for sid in sids if sid in configured or not is_nearly_everybody(sid))

    def _remember(self, facts: TokenFacts, principal: Principal) -> None:
        self._remembered[facts] = principal
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)


def refusal(facts: TokenFacts, settings: WindowsSettings) -> str:
    """Why a token counts for nobody; empty: it counts."""
    if facts.level == "anonymous":
        return "a Windows token that names nobody: its impersonation level is anonymous"
    if facts.is_own_process:
        return "the Windows token of this server's own process"
    if facts.is_restricted:
        return "a restricted Windows token"
    return sid_refusal(facts.sid, settings, is_own_account=facts.is_own_account)


def sid_refusal(sid: str, settings: WindowsSettings, *, is_own_account: bool = False) -> str:
    """Why a user counts for nobody; empty: it counts."""
    if who := nobody(sid):
        return f"a Windows user who is {who}"
    if is_own_account and not settings.allow_own_account:
        return "a Windows user with this server's own account (identity.windows.allow_own_account is false)"
    if sid in SERVICE_ACCOUNTS and not settings.allow_service_accounts:
        return f"the Windows account {SERVICE_ACCOUNTS[sid]} (identity.windows.allow_service_accounts is false)"
    return ""
