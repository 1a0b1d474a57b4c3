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
    account = [] if sys.platform == "win32" else ["--account", "root"]
    if sys.platform == "win32" and not is_wine():
        # Under Wine all are one account; elsewhere a service of its own account could not read our temporary folder.
        account = ["--account", "LocalSystem"]
        _believe(project, "S-1-5-18")
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


def _believe(project: Path, owner: str) -> None:
    """Have gates of our account meet a pool of another one."""
    if sys.platform == "win32":
        from torchgate.windows.access_list import own_sid

        settings = project / "torchgate.toml"
        lines = f'\n[pool]\ngates = ["{own_sid()}"]\nowner = "{owner}"\n'
        settings.write_text(settings.read_text(encoding="utf-8") + lines, encoding="utf-8")
