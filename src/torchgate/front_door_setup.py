"""The front door of a server, put together from settings, secrets, environment and the web.config beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from torchgate.access.secrets.live_secrets import LiveSecrets
from torchgate.config import TorchgateSettings
from torchgate.contract.findings import Finding
from torchgate.contract.settings_file import nearest
from torchgate.gate.certificate_paths import CertificatePaths
from torchgate.gate.declarations import FRONT_DOORS, FrontDoorDeclaration
from torchgate.gate.door_checks import WindowsUse, door_start_checks, windows_setting_checks
from torchgate.gate.door_parts import DoorNeighbours, front_door_parts
from torchgate.gate.front_door import FrontDoor
from torchgate.gate.marked_paths import MarkedPaths
from torchgate.iis.token_header_rule import blocks_client_tokens
from torchgate.windows_here import windows_tokens

_MAX_WEB_CONFIG_BYTES = 1 << 20


def front_door_of(
    settings: TorchgateSettings,
    secrets: LiveSecrets,
    environment: Mapping[str, str] = os.environ,
    *,
    wants_rights: Callable[[], bool] = lambda: False,
) -> FrontDoor:
    """The configured front door.

    Args:
        wants_rights: whether a model is served now that acts with its caller's Windows rights.

    Raises:
        ValueError: its proof can't be had; the sentence says what to do.
    """
    name = settings.gate.proxy.secret if settings.gate.front_door == "proxy" else None
    identity = settings.identity
    neighbours = DoorNeighbours(
        tokens=windows_tokens() if identity.windows.enabled else None,
        windows_paths=MarkedPaths(identity.windows.marked_paths),
        windows_prefix=identity.windows.prefix or "",
        certificate_paths=CertificatePaths(identity.certificate_paths if identity.certificates else ()),
        accepts_secret=None if name is None else secrets.get(name).accepts,
        wants_rights=wants_rights,
    )
    return FrontDoor(
        FRONT_DOORS[settings.gate.front_door],
        settings.gate.hosts,
        is_development=settings.development.enabled,
        parts=front_door_parts(settings.gate, environment, neighbours),
    )


def front_door_setting_checks(settings: TorchgateSettings) -> Iterator[Finding]:
    """What is wrong between front door, secrets and identities, wherever that is examined."""
    name = settings.gate.proxy.secret
    if name is not None and name not in settings.secrets:
        known = list(settings.secrets)
        hint = nearest(name, known) if known else "[secrets] is empty."
        yield Finding("error", f"there is no secret {name!r} in [secrets]. {hint}", setting="gate.proxy.secret")
    windows = settings.identity.windows
    if windows.enabled:
        paths = MarkedPaths(windows.marked_paths)
        yield from windows_setting_checks(settings.gate, paths, impersonates=windows.impersonation)


def front_door_checks(settings: TorchgateSettings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """What keeps a server from starting: the same, and what only the environment that it starts in tells."""
    yield from front_door_setting_checks(settings)
    windows, declaration = settings.identity.windows, FRONT_DOORS[settings.gate.front_door]
    blocked = client_tokens_blocked(declaration) if windows.enabled else None
    use = WindowsUse(windows.enabled, MarkedPaths(windows.marked_paths), blocked)
    yield from door_start_checks(settings.gate, environment, use)


def client_tokens_blocked(declaration: FrontDoorDeclaration) -> bool | None:
    """Whether the web.config beside us blocks clients' own token headers; None where there is no web.config.

    The modules start their process in the application's folder. HTTP_PLATFORM_IIS_PHYSICAL_PATH does not name it: the
    module puts the application's id there (`/LM/W3SVC/1/ROOT`; `SERVER_PROCESS::StartProcess`).
    """
    try:
        with Path("web.config").open("rb") as file:
            text = file.read(_MAX_WEB_CONFIG_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return False
    return blocks_client_tokens(text, declaration.token_header.decode("ascii"))
