"""What the checks of `doctor` look at: a project, and the machine that it is to run on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from torchgate.config import Configuration, TorchgateSettings, read_configuration
from torchgate.contract.diagnosis import Diagnosis
from torchgate.contract.machine import Machine
from torchgate.contract.os_services import Children
from torchgate.contract.programs import Programs
from torchgate.secret_places import BEHIND_IIS


class Interpreter(msgspec.Struct, frozen=True):
    """The Python that runs us.

    Args:
        executable: in a virtual environment its own.
        base: the one that the virtual environment was made from; else the same.
        prefix: of the virtual environment, or of the installation.
        version: `3.11.2`.
        bits: 64, or 32.
    """

    executable: Path
    base: Path
    prefix: Path
    version: str
    bits: int

    @property
    def is_virtual(self) -> bool:
        """Whether it is a virtual environment's."""
        return (self.prefix / "pyvenv.cfg").is_file()


class World(msgspec.Struct, frozen=True):
    """All that checks may ask.

    Args:
        configuration: of the project.
        environment: of this process.
        machine, programs, children: of the operating system.
        interpreter: that runs us.
        is_windows: which rules hold.
        version: of Torchgate.
    """

    configuration: Configuration
    environment: Mapping[str, str]
    machine: Machine
    programs: Programs
    children: Callable[[], Children]
    interpreter: Interpreter
    is_windows: bool
    version: str

    @property
    def settings(self) -> TorchgateSettings:
        """Of the project; checks that need them are skipped where there are none."""
        if self.configuration.settings is None:
            raise LookupError("the configuration has mistakes")
        return self.configuration.settings

    @property
    def folder(self) -> Path:
        """Of the project."""
        return self.configuration.file.parent

    @property
    def is_behind_iis(self) -> bool:
        """Whether IIS starts the server."""
        return self.settings.gate.front_door in BEHIND_IIS


class Check(msgspec.Struct, frozen=True):
    """One check.

    Args:
        area: heading that it stands under.
        name: with which people and programs find it again; unique.
        looks_at: what it examines, for the reference.
        run: yields what it finds; whatever it raises becomes a finding.
        limit_s: after which it is given up, which is a finding, too.
        needs_settings: skipped while the configuration has mistakes.
    """

    area: str
    name: str
    looks_at: str
    run: Callable[[World], Iterable[Diagnosis]]
    limit_s: float = 15.0
    needs_settings: bool = True


def world_here(project: Path, flags: Sequence[str] = (), *, version: str = "") -> World:
    """This process, on this machine."""
    # Imported here: each room has its calls on its own system alone.
    if sys.platform == "win32":
        from torchgate.windows.children import WindowsChildren as SystemChildren
        from torchgate.windows.machine import WindowsMachine as SystemMachine
        from torchgate.windows.programs import WindowsPrograms as SystemPrograms
    else:
        from torchgate.posix.children import PosixChildren as SystemChildren
        from torchgate.posix.machine import PosixMachine as SystemMachine
        from torchgate.posix.programs import PosixPrograms as SystemPrograms
    programs = SystemPrograms()
    return World(
        read_configuration(project, os.environ, flags),
        dict(os.environ),
        SystemMachine(programs),
        programs,
        SystemChildren,
        Interpreter(
            Path(sys.executable),
            Path(getattr(sys, "_base_executable", "") or sys.executable),
            Path(sys.prefix),
            ".".join(map(str, sys.version_info[:3])),
            64 if sys.maxsize > 2**32 else 32,
        ),
        sys.platform == "win32",
        version,
    )
