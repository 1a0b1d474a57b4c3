"""A project's pool as a real service of this machine, by the commands that a person types."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rigs.wine import is_wine

from torchgate.cli import main
from torchgate.contract.services import ServiceStatus
from torchgate.services_here import services

_FOR_TORCH = "KMP_AFFINITY"


@contextmanager
def installed_pool(project: Path, name: str, state: Path) -> Iterator[None]:
    """Installed, not started; taken away at the end.

    Args:
        state: the pool's own state folder.
    """
    account = [] if sys.platform == "win32" else ["--account", "root"]
    if sys.platform == "win32" and not is_wine():
        # Under Wine all are one account; elsewhere a service of its own account could not read our temporary folder.
        account = ["--account", "LocalSystem"]
        _believe(project, "S-1-5-18")
    assert main(["service", "install", str(project), "--name", name, "--state-folder", str(state), *account]) == 0
    try:
        with services_see_this_environment():
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


@contextmanager
def services_see_this_environment() -> Iterator[None]:
    """Under Wine torch starts only with a variable of ours, and a service does not inherit it.

    Wine reads the machine's environment once, when the first process of a prefix starts, so that its registry comes too
    late: the interpreter itself sets the variable, by a line that it executes at its start.
    """
    value = os.environ.get(_FOR_TORCH)
    if not is_wine() or value is None:
        yield
        return
    file = Path(sysconfig.get_path("purelib"), "torchgate-tests-under-wine.pth")
    file.write_text(f"import os; os.environ.setdefault({_FOR_TORCH!r}, {value!r})\n", encoding="utf-8")
    try:
        yield
    finally:
        file.unlink()


def _believe(project: Path, owner: str) -> None:
    """Have gates of our account meet a pool of another one."""
    if sys.platform == "win32":
        from torchgate.windows.access_list import own_sid

        settings = project / "torchgate.toml"
        lines = f'\n[pool]\ngates = ["{own_sid()}"]\nowner = "{owner}"\n'
        settings.write_text(settings.read_text(encoding="utf-8") + lines, encoding="utf-8")
