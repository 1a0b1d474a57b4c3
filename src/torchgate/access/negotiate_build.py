"""Puts together what makes principals of Kerberos tickets."""

from __future__ import annotations

from collections.abc import Callable

from torchgate.access.identity.lookup_thread import LookupThread
from torchgate.access.identity.negotiate import MAX_WAITING, KerberosUsers
from torchgate.access.policy.roles import Roles
from torchgate.access.settings import AccessSettings
from torchgate.access.windows_build import WindowsIdentities
from torchgate.contract.kerberos import KerberosAcceptor


def with_kerberos(
    windows: WindowsIdentities,
    settings: AccessSettings,
    acceptor: KerberosAcceptor | None,
    *,
    roles: Roles,
    wall_clock: Callable[[], float],
) -> WindowsIdentities:
    """The same identities, and Kerberos tickets where they count."""
    negotiate = settings.identity.negotiate
    if negotiate is None or acceptor is None:
        return windows
    thread = LookupThread("torchgate-kerberos", MAX_WAITING)
    users = KerberosUsers(
        negotiate,
        acceptor=acceptor,
        thread=thread,
        with_roles=roles.given_to,
        configured_sids=roles.sids(),
        wall_clock=wall_clock,
    )
    return WindowsIdentities({**windows.authenticators, "negotiate": users}, (*windows.threads, thread))


def challenges(settings: AccessSettings, bearer: str) -> tuple[str, ...]:
    """The schemes of WWW-Authenticate, Negotiate among them where tickets count.

    Args:
        bearer: the challenge of the scheme Bearer, which is there also where only API keys exist: RFC 9110 wants a
            challenge with every 401, and keys have no scheme.
    """
    return (bearer,) if settings.identity.negotiate is None else (bearer, "Negotiate")
