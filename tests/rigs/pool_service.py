"""A project's pool as a real service of this machine, by the commands that a person types."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rigs.wine import is_wine

from torchgate.cli import main
from torchgate.contract.services import ServiceStatus
from torchgate.services_here import services

_ENVIRONMENT = r"SYSTEM\CurrentControlSet\Control\Session Manager\Environment"
_FOR_TORCH = "KMP_AFFINITY"


@contextmanager
def installed_pool(project: Path, name: str, state: Path) -> Iterator[None]:
    """Installed, not started; taken away at the end.

    Args:
        state: the pool's own state folder.
    """
    let_services_see_this_environment()
    account = ["--account", "root"] if sys.platform != "win32" else []
    assert main(["service", "install", str(project), "--name", name, "--state-folder", str(state), *account]) == 0
    try:
        yield
    finally:
        assert main(["service", "uninstall", "--name", name]) == 0


@contextmanager
def pool_service(project: Path, name: str, state: Path) -> Iterator[ServiceStatus]:
    """The same, and it runs."""
    with installed_pool(project, name, state):
        assert main(["service", "start", "--name", name]) == 0, log_of(state)
        yield services().status(name)


def log_of(state: Path) -> str:
    """What a pool has printed; systemd has that elsewhere."""
    return "\n".join(one.read_text(encoding="utf-8") for one in sorted((state / "logs").glob("*.log")))


def let_services_see_this_environment() -> None:
    """A service has the machine's environment and not ours; under Wine torch starts only with a variable of ours."""
    if sys.platform == "win32" and is_wine() and _FOR_TORCH in os.environ:
        import winreg

        with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, _ENVIRONMENT) as key:
            winreg.SetValueEx(key, _FOR_TORCH, 0, winreg.REG_SZ, os.environ[_FOR_TORCH])
