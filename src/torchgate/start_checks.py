"""What keeps a server from starting, and from taking a changed file while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torchgate.config import Configuration
from torchgate.contract.findings import Finding
from torchgate.development import development_checks
from torchgate.engine.quota_checks import quota_checks
from torchgate.front_door_setup import front_door_checks, front_door_setting_checks
from torchgate.gate.checks import checks as gate_checks
from torchgate.gate.door_checks import caller_checks, listener_checks, wsgi_checks
from torchgate.secret_places import secret_checks


def start_mistakes(
    configuration: Configuration, environment: Mapping[str, str], *, has_door: bool = True
) -> Iterator[Finding]:
    """All errors of the file and of what it says, but for those that only building access finds.

    Args:
        has_door: requests come to this process by the front door; a pool has none, and IIS does not start it.
    """
    yield from configuration.findings
    settings = configuration.settings
    if settings is None:
        return
    found = (
        *gate_checks(settings.gate),
        *secret_checks(configuration.file.parent, settings, environment),
        *(front_door_checks(settings, environment) if has_door else front_door_setting_checks(settings)),
        *development_checks(settings, environment),
        *quota_checks(settings.quotas, settings.role_names),
    )
    yield from (configuration.locate(finding) for finding in found if finding.severity == "error")


def listener_mistakes(configuration: Configuration) -> Iterator[Finding]:
    """What keeps a command from listening."""
    if configuration.settings is not None:
        yield from map(configuration.locate, listener_checks(configuration.settings.gate))


def caller_mistakes(configuration: Configuration) -> Iterator[Finding]:
    """What keeps a gate from being called by a WSGI server."""
    if configuration.settings is not None:
        yield from map(configuration.locate, caller_checks(configuration.settings.gate))


def wsgi_mistakes(configuration: Configuration) -> Iterator[Finding]:
    """What keeps a gate from standing around a WSGI application."""
    if configuration.settings is not None:
        yield from map(configuration.locate, wsgi_checks(configuration.settings.gate))
