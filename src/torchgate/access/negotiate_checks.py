"""What is wrong, or worth a look, in the settings of Kerberos."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.access.policy.roles import Member
from torchgate.access.policy.windows_members import windows_member_mistake
from torchgate.access.settings import AccessSettings
from torchgate.contract.findings import Finding


def negotiate_member_mistake(member: Member, settings: AccessSettings) -> str | None:
    """What is wrong with a role member that a Kerberos ticket could fulfil, or empty; None: it is none of these."""
    if settings.identity.negotiate is None:
        return None
    if member.issuer == "negotiate":
        return "" if member.kind == "sub" else f"tickets have no {member.kind}; write negotiate:sub:alice@REALM."
    if settings.identity.windows.enabled:
        return None  # said by Windows' own checks
    if member.issuer == "sid":
        return windows_member_mistake(member)
    if member.issuer in ("user", "group"):
        return f"{member.mark!r} is a name, and only Windows can say whose. Write the SID: sid:S-1-5-21-…"
    return None


def negotiate_findings(settings: AccessSettings) -> Iterator[Finding]:
    """Whether the keytab is there."""
    negotiate = settings.identity.negotiate
    if negotiate is not None and not (settings.folder / negotiate.keytab).is_file():
        yield Finding(
            "error",
            f"{settings.folder / negotiate.keytab} is not there.",
            setting="identity.negotiate.keytab",
            remedy="Export the service's keys from the domain; docs/how-to/use-kerberos.md says how.",
        )
