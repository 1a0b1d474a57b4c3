"""Development identities: where they may exist at all, and how loudly they say so (DESIGN 4.4)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from torchgate.access.identity.development import new_development_token
from torchgate.access.secrets.environment import behind_iis
from torchgate.config import TorchgateSettings
from torchgate.contract.findings import Finding
from torchgate.gate.settings import host_and_port


def development_checks(settings: TorchgateSettings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Why development identities can't be here; nothing where they are not enabled."""
    if not settings.development.enabled:
        return
    setting, remedy = "development.enabled", "Set it to false; use [[identity.oidc]] or [[identity.api_keys]]."
    if settings.gate.front_door != "direct":
        sentence = f"development identities need front door 'direct', and it is {settings.gate.front_door!r}."
        yield Finding("error", sentence, setting=setting, remedy=remedy)
    if not _is_loopback(settings.gate.bind):
        sentence = f"development identities need a loopback address, and gate.bind is {settings.gate.bind!r}."
        yield Finding("error", sentence, setting=setting, remedy=f"Bind to 127.0.0.1. Or: {remedy}")
    if found := behind_iis(environment):  # then callers come from elsewhere
        sentence = f"development identities can't be behind IIS, and the environment has {', '.join(found)}."
        yield Finding("error", sentence, setting=setting, remedy=remedy)


def new_tokens(settings: TorchgateSettings) -> dict[str, str]:
    """A new token for each development identity; none where they are not enabled."""
    if not settings.development.enabled:
        return {}
    return {identity.name: new_development_token() for identity in settings.development.identities}


def _is_loopback(bind: str) -> bool:
    try:
        host, _ = host_and_port(bind)
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name, even `localhost`, is what its resolver makes of it
