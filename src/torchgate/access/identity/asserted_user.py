"""Users whom a front door names that has proven itself: a proxy's word is the credential."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torchgate.access.identity.authenticate import Authenticator
from torchgate.access.identity.presented import AssertedUser, Presented
from torchgate.access.identity.rejection import reject
from torchgate.contract.principal import Principal

PROXY_ISSUER = "proxy"
"""The issuer of these principals in role members: `proxy:user:X`, `proxy:group:X`."""

MAX_REMEMBERED = 10_000


class AssertedUsers:
    """Makes principals of what a proxy asserts; the same assertion gives the same principal.

    Args:
        with_roles: gives a principal its roles.
        accounts: makes principals of Windows accounts by name (FastCGI); None: they don't count.
    """

    def __init__(self, with_roles: Callable[[Principal], Principal], accounts: Authenticator | None = None) -> None:
        self._with_roles = with_roles
        self._accounts = accounts
        self._remembered: OrderedDict[AssertedUser, Principal] = OrderedDict()

    def cached(self, presented: Presented) -> Principal | None:
        """The principal; a proxy's needs no I/O."""
        asserted = presented.asserted
        if asserted is None:
            return None
        if asserted.is_windows_account:
            return None if self._accounts is None else self._accounts.cached(presented)
        principal = self._remembered.get(asserted)
        if principal is None:
            principal = self._with_roles(proxy_principal(asserted))
            self._remembered[asserted] = principal
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        return principal

    async def authenticate(self, presented: Presented) -> Principal:
        """The principal.

        Raises:
            RejectedCredential: no user is asserted, or one whose name only Windows can resolve.
            IssuerUnavailable: Windows can't be asked now.
        """
        if presented.asserted is not None and presented.asserted.is_windows_account and self._accounts is not None:
            return await self._accounts.authenticate(presented)
        principal = self.cached(presented)
        if principal is None:
            raise reject("no user is asserted, or a Windows account where those are not enabled")
        return principal


def proxy_principal(asserted: AssertedUser) -> Principal:
    """The principal of what a proxy says, without roles; names count byte for byte."""
    mark = f"{PROXY_ISSUER}:user:{asserted.user}"
    groups = asserted.groups or ()
    return Principal(
        key=mark,
        name=asserted.user,
        method="proxy",
        issuer=PROXY_ISSUER,
        marks=frozenset({mark, *(f"{PROXY_ISSUER}:group:{group}" for group in groups)}),
        groups_known=asserted.groups is not None,
        credential_id=asserted.user,
    )
