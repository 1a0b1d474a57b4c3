"""What is wrong, or worth a look, in the settings of Windows identities."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.access.policy.windows_members import resolve_members
from torchgate.access.settings import AccessSettings
from torchgate.access.sids import SERVICE_ACCOUNTS, nobody
from torchgate.contract.findings import Finding
from torchgate.contract.windows_tokens import WindowsAccounts


def uses_windows(settings: AccessSettings) -> bool:
    """Whether some principals have SIDs, so that roles may have members with SIDs and Windows names."""
    return settings.identity.windows.enabled


def windows_findings(settings: AccessSettings, accounts: WindowsAccounts | None) -> Iterator[Finding]:
    """What `check` says beyond the mistakes that keep any server from starting.

    Args:
        accounts: of this system; None: names can't be resolved here.
    """
    if not uses_windows(settings):
        return
    if accounts is None:
        sentence = "this system is not Windows: nobody who calls a server here has a Windows identity."
        yield Finding("warning", sentence, setting="identity.windows.enabled")
    yield from resolve_members(settings.roles, accounts).findings
    yield from _members_that_never_come(settings)
    windows = settings.identity.windows
    if windows.allow_service_accounts:
        yield Finding(
            "warning",
            "every service of this machine that runs as SYSTEM, LocalService or NetworkService may call.",
            setting="identity.windows.allow_service_accounts",
        )


def _members_that_never_come(settings: AccessSettings) -> Iterator[Finding]:
    for role, members in settings.roles.items():
        for place, text in enumerate(members):
            sid = text.removeprefix("sid:")
            who = nobody(sid) or ("" if _service_accounts_count(settings) else SERVICE_ACCOUNTS.get(sid, ""))
            if sid != text and who:
                sentence = f"{sid} is {who}, whose requests are refused, so that this member never counts."
                yield Finding("warning", sentence, setting=f"roles.{role}.{place}")


def _service_accounts_count(settings: AccessSettings) -> bool:
    return settings.identity.windows.allow_service_accounts
