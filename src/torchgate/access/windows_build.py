"""Puts together what makes principals of Windows users."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from torchgate.access.identity.account_names import AccountNames
from torchgate.access.identity.asserted_account import AssertedAccounts
from torchgate.access.identity.authenticate import Authenticator
from torchgate.access.identity.lookup_thread import LookupThread
from torchgate.access.identity.presented import Kind
from torchgate.access.identity.windows_token import WindowsUsers
from torchgate.access.policy.roles import Roles
from torchgate.access.policy.windows_members import resolve_members
from torchgate.access.settings import AccessSettings
from torchgate.access.windows_checks import uses_windows
from torchgate.contract.clock import Clock
from torchgate.contract.windows_tokens import WindowsAccounts

_NAMES_WAITING = 1024
_ASSERTED_WAITING = 64


class WindowsIdentities(msgspec.Struct, frozen=True):
    """What makes principals of Windows users, and the threads that it asks names on."""

    authenticators: Mapping[Kind, Authenticator] = {}
    threads: tuple[LookupThread, ...] = ()


def resolved_sids(settings: AccessSettings, accounts: WindowsAccounts | None) -> Mapping[str, str]:
    """The SIDs of the Windows names in roles; may ask a domain controller.

    Raises:
        ValueError: one can't be resolved. A server doesn't start with a rule that it can't apply: a denial would be
            none.
    """
    if not uses_windows(settings):
        return {}
    resolved = resolve_members(settings.roles, accounts)
    if resolved.findings:
        errors = [msgspec.structs.replace(finding, severity="error") for finding in resolved.findings]
        raise ValueError("\n".join(map(str, errors)))
    return resolved.sids


def windows_identities(
    settings: AccessSettings,
    accounts: WindowsAccounts | None,
    *,
    roles: Roles,
    clock: Clock,
) -> WindowsIdentities:
    """The authenticators; none where Windows identities don't count or don't exist."""
    windows = settings.identity.windows
    if not windows.enabled or accounts is None:
        return WindowsIdentities()
    names, asserted = (
        LookupThread("torchgate-names", _NAMES_WAITING),
        LookupThread("torchgate-users", _ASSERTED_WAITING),
    )
    users = WindowsUsers(
        windows,
        with_roles=roles.given_to,
        configured_sids=roles.sids(),
        name_of=AccountNames(accounts, names, clock).name_of,
    )
    named = AssertedAccounts(windows, with_roles=roles.given_to, accounts=accounts, thread=asserted, clock=clock)
    return WindowsIdentities({"windows": users, "asserted": named}, (names, asserted))
