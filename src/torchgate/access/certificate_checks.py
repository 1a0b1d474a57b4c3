"""What is wrong, or worth a look, with the authorities of client certificates."""

from __future__ import annotations

import time
from collections.abc import Iterator

from torchgate.access.certificate_settings import CertificateSettings
from torchgate.access.identity.certificate_authority import AuthorityUnreadable, load_authority, read_authorities
from torchgate.access.oidc_settings import RESERVED_NAMES
from torchgate.access.policy.roles import Member
from torchgate.access.settings import AccessSettings
from torchgate.contract.findings import Finding

_SOON_S = 30 * 86_400.0


def authority_mistakes(settings: AccessSettings) -> Iterator[Finding]:
    """Mistakes that keep the server from starting."""
    issuers = {issuer.name for issuer in settings.identity.oidc}
    seen: set[str] = set()
    for place, one in enumerate(settings.identity.certificates):
        where = f"identity.certificates.{place}"
        if one.name in issuers | seen | RESERVED_NAMES:
            yield Finding("error", f"the name {one.name!r} is taken; choose another.", setting=f"{where}.name")
        seen.add(one.name)
        try:
            load_authority(one, settings.folder)
        except AuthorityUnreadable as error:
            yield Finding("error", str(error), setting=where)


def authority_findings(settings: AccessSettings) -> Iterator[Finding]:
    """Authorities and revocation lists at their end."""
    for place, one in enumerate(settings.identity.certificates):
        try:
            yield from _endings(one, settings, f"identity.certificates.{place}")
        except AuthorityUnreadable:
            continue  # said by authority_mistakes


def member_mistake(member: Member, settings: AccessSettings) -> str | None:
    """What is wrong with a role member that names certificates, or empty; None: it names something else."""
    names = {one.name for one in settings.identity.certificates}
    if member.issuer == "cert" and names:
        is_digest = len(member.value) == 64 and set(member.value) <= set("0123456789abcdef")
        return "" if is_digest else "after cert: stands the SHA-256 of a certificate, 64 lower-case hex digits."
    if member.issuer in names:
        return "" if member.kind == "sub" else f"certificates have no {member.kind}; write {member.issuer}:sub:SUBJECT."
    return None


def _endings(one: CertificateSettings, settings: AccessSettings, where: str) -> Iterator[Finding]:
    now = time.time()
    for certificate in read_authorities(settings.folder / one.ca_file):
        left_s = certificate.not_valid_after_utc.timestamp() - now
        if left_s < _SOON_S:
            verb = "ended" if left_s <= 0 else "ends"
            yield Finding(
                "warning",
                f"the authority {certificate.subject.rfc4514_string()!r} {verb} at "
                f"{certificate.not_valid_after_utc.isoformat()}.",
                setting=f"{where}.ca_file",
                remedy="After that its certificates are refused; add its successor.",
            )
    for each in (load_authority(one, settings.folder).lists or {}).values():
        if each.next_update_utc is None or each.next_update_utc.timestamp() <= now:
            yield Finding(
                "warning",
                f"the revocation list of {each.issuer.rfc4514_string()!r} is out of date, so that all certificates "
                "of this authority are refused.",
                setting=f"{where}.crl_file",
                remedy="Fetch the current one; a running server takes it up by itself.",
            )
