"""What `check` says: the findings of configuration and every room, all at once, without a network or a worker."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from torchgate.access.checks import checks as access_checks
from torchgate.access.policy_checks import model_findings
from torchgate.config import Configuration, TorchgateSettings, explain, read_configuration
from torchgate.contract.counted import counted
from torchgate.contract.findings import Finding
from torchgate.development import development_checks
from torchgate.engine.catalog import read_catalog
from torchgate.engine.checks import Machine
from torchgate.engine.checks import checks as engine_checks
from torchgate.engine.share_checks import share_checks
from torchgate.front_door_setup import front_door_setting_checks
from torchgate.gate.checks import checks as gate_checks
from torchgate.gate.tls_checks import tls_findings
from torchgate.pool_checks import pool_checks
from torchgate.secret_places import private_files, secret_checks
from torchgate.telemetry.checks import checks as telemetry_checks
from torchgate.windows_here import no_impersonation_here, windows_accounts

_ORDER = {"error": 0, "warning": 1, "info": 2}


class Examination(msgspec.Struct, frozen=True):
    """What was found, and the configuration it was found in."""

    configuration: Configuration
    findings: tuple[Finding, ...]

    @property
    def is_passed(self) -> bool:
        """Whether a server would start with it."""
        return not any(finding.severity == "error" for finding in self.findings)


def examine(path: Path, environment: Mapping[str, str], flags: Sequence[str] = ()) -> Examination:
    """Examine a project; every finding has its file and line where there is one."""
    configuration = read_configuration(path, environment, flags)
    findings = list(configuration.findings)
    if configuration.settings is None:
        sentence = "its models and policy could not be examined before these mistakes are corrected."
        findings.append(Finding("info", sentence, file=str(configuration.file)))
    else:
        rooms = _room_findings(configuration, configuration.settings, environment)
        findings += [configuration.locate(finding) for finding in rooms]
    findings.sort(key=lambda finding: (_ORDER[finding.severity], finding.file, finding.line))
    return Examination(configuration, tuple(findings))


def _room_findings(
    configuration: Configuration, settings: TorchgateSettings, environment: Mapping[str, str]
) -> Iterator[Finding]:
    yield from gate_checks(settings.gate)
    yield from tls_findings(settings.gate, private_files())
    yield from front_door_setting_checks(settings)
    yield from development_checks(settings, environment)
    yield from secret_checks(configuration.file.parent, settings, environment)
    yield from access_checks(configuration.access_settings(), windows_accounts())
    yield from model_findings(configuration.access_settings(), frozenset(read_catalog(settings.models)[0].entries))
    controllers, refusal = _controllers(settings.engine.control_group)
    if refusal:
        yield Finding("error", f"{refusal}.", setting="engine.control_group")
    yield from engine_checks(
        settings.engine,
        settings.models,
        configuration.file.parent,
        quotas=settings.quotas,
        roles=settings.role_names,
        machine=Machine(controllers, no_impersonation_here(settings.identity.windows)),
    )
    yield from pool_checks(settings, windows_accounts())
    yield from share_checks(settings.shares, settings.role_names)
    yield from telemetry_checks(settings.audit, settings.audit_folder)


def _controllers(control_group: str) -> tuple[frozenset[str], str]:
    """What control groups of workers would have, if a server were started from here; and why it would not start."""
    if sys.platform == "win32":
        return frozenset(), ""
    from torchgate.posix.group_place import NoControlGroups, find_place

    try:
        return find_place(control_group).controllers(), ""
    except (NoControlGroups, OSError) as error:
        return frozenset(), "" if control_group in ("auto", "off") else str(error)


def human_lines(examination: Examination) -> Iterator[str]:
    """One line for each finding, then the verdict."""
    for finding in examination.findings:
        yield str(finding)
    counts = [
        sum(finding.severity == severity for finding in examination.findings) for severity in ("error", "warning")
    ]
    verdict = "passed" if examination.is_passed else "NOT passed"
    errors, warnings = counted(counts[0], "error"), counted(counts[1], "warning")
    yield f"{examination.configuration.file}: {verdict}: {errors}, {warnings}."


def explained_lines(examination: Examination) -> Iterator[str]:
    """One line for each setting: value, where it came from, its default."""
    for explained in explain(examination.configuration):
        default = "" if explained.value == explained.default else f" (default {explained.default})"
        yield f"{explained.setting} = {explained.value}    from {explained.origin}{default}"


def json_line(examination: Examination) -> str:
    """All of it for programs."""
    return msgspec.json.encode({"passed": examination.is_passed, "findings": examination.findings}).decode()
