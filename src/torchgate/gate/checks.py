"""What can be wrong with the gate's settings beyond their types."""

from __future__ import annotations

from collections.abc import Iterator

from torchgate.contract.findings import Finding
from torchgate.gate.door_checks import door_setting_checks
from torchgate.gate.forwarded import is_of_this_machine
from torchgate.gate.settings import GateSettings, host_and_port, is_unix


def checks(settings: GateSettings, *, is_development: bool = False) -> Iterator[Finding]:
    """Findings about `[gate]`.

    Args:
        is_development: development identities are enabled.
    """
    yield from door_setting_checks(settings)
    host = ""
    if not is_unix(settings.bind):
        try:
            host, _ = host_and_port(settings.bind)
        except ValueError as error:
            yield Finding("error", f"{error}.", setting="gate.bind")
            return
    if host and not is_loopback(host):
        if is_development:
            yield Finding(
                "error",
                f"Development identities exist on loopback only, and the server would listen on {host}.",
                setting="gate.bind",
                remedy="Bind 127.0.0.1, or set development.enabled = false.",
            )
        elif settings.tls is None:
            yield Finding(
                "warning",
                f"The server would listen on {host} without TLS: tokens could be read on the way.",
                setting="gate.bind",
                remedy="Bind 127.0.0.1 and put a front door with TLS before it, or set [gate.tls].",
            )
    if settings.default_timeout_s > settings.max_timeout_s:
        yield Finding(
            "warning",
            f"The default deadline {settings.default_timeout_s:g} s exceeds the longest, {settings.max_timeout_s:g} s.",
            setting="gate.default_timeout_s",
            remedy="It is cut to gate.max_timeout_s; make the two agree.",
        )
    if settings.drain_s > 8:
        yield Finding(
            "warning",
            f"A stop may take {settings.drain_s:g} s; process managers of IIS kill after 10 s.",
            setting="gate.drain_s",
            remedy="Keep it at 8 s or less behind IIS.",
        )


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    return host.lower() == "localhost" or is_of_this_machine(host)
