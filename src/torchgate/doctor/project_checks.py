"""What the project itself says: its settings, its secrets, its audit trail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from torchgate.access.secrets.sources import secret_sources
from torchgate.contract.diagnosis import Diagnosis, amber, ok, red, skipped
from torchgate.contract.findings import Finding
from torchgate.doctor.folder_checks import closed_to_others, space
from torchgate.doctor.places import unwritable
from torchgate.doctor.world import World
from torchgate.examination import examine
from torchgate.secret_commands import ExaminedSecret, examine_secrets
from torchgate.secret_places import secret_places
from torchgate.telemetry.trail_examination import examine_trail

_SOON_S = 14 * 24 * 3600.0


def configuration(world: World) -> Iterator[Diagnosis]:
    """All that `torchgate check` finds."""
    found = examine(world.configuration.file, world.environment, world.configuration.flags)
    for finding in found.findings:
        yield of_finding(finding)
    if not found.findings:
        yield ok("`torchgate check` finds nothing amiss.", place=str(world.configuration.file))


def of_finding(finding: Finding) -> Diagnosis:
    """What `check` or `iis lint` says, said by `doctor`."""
    place = f"{finding.file}:{finding.line}" if finding.file and finding.line else finding.file
    place = f"{place} {finding.setting}".strip()
    if finding.severity == "info":
        return ok(" ".join(part for part in (finding.sentence, finding.remedy) if part), place=place)
    verdict = red if finding.severity == "error" else amber
    return verdict(finding.sentence, "", finding.remedy, place=place)


def secrets(world: World) -> Iterator[Diagnosis]:
    """Every secret, read now as this account; never a value."""
    sources = secret_sources(world.settings.secrets, secret_places(world.folder))
    if not sources:
        yield skipped("there are no secrets: [secrets] is empty.")
        return
    for one in asyncio.run(examine_secrets(sources, world.settings.secret_refresh)):
        yield from _secret(one)


def _secret(one: ExaminedSecret) -> Iterator[Diagnosis]:
    place = f"secrets.{one.name}"
    if one.error:
        remedy = "A server that can't read it does not start; see how `torchgate secrets status` fares as its account."
        yield red(f"{one.name} can't be read: {one.error}", "readable for this account", remedy, place=place)
        return
    for remark in one.remarks:
        yield amber(f"{one.name}: {remark}", "", "", place=place)
    lasting_s = one.values.get("current", {}).get("expires_in_s")
    if lasting_s is not None and lasting_s < _SOON_S:
        seen = f"{one.name} {'expires in' if lasting_s > 0 else 'has expired since'} {abs(lasting_s) / 86400:.1f} days."
        yield amber(seen, f"more than {_SOON_S / 86400:g} days", "Put a new value into its store.", place=place)
    else:
        yield ok(f"{one.name} can be read ({one.reference}).", place=place)


def audit(world: World) -> Iterator[Diagnosis]:
    """Without its audit trail a server answers nothing."""
    folder = world.settings.audit_folder
    if why := unwritable(folder):
        remedy = "Give it to the account that runs the server, or name another folder; nothing is answered without it."
        yield red(f"nothing can be written into {folder}: {why}.", "a folder to write to", remedy, place="audit.folder")
        return
    yield from space(folder, "the audit trail")
    yield from closed_to_others(world, folder, "audit.folder")
    yield from examine_trail(folder, world.settings.state.folder / "keys")
