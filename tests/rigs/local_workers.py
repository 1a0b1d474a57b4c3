"""Local workers on whatever platform the tests run."""

from __future__ import annotations

import sys
from pathlib import Path

import torchgate
from torchgate.engine.local_workers import LocalWorkers
from torchgate.engine.settings import EngineSettings

if sys.platform == "win32":
    from torchgate.windows.children import WindowsChildren as Children
    from torchgate.windows.section import WindowsSections as Sections
else:
    from torchgate.posix.children import PosixChildren as Children
    from torchgate.posix.control_groups import open_control_groups
    from torchgate.posix.section import PosixSections as Sections

PACKAGE_FOLDER = Path(torchgate.__file__).parent.parent


def local_workers(settings: EngineSettings, *, grouped: bool = False) -> LocalWorkers:
    """The real thing; its workers find the package where this process found it.

    Args:
        grouped: with control groups where there can be some, as a server has them.
    """
    folders = (PACKAGE_FOLDER,)
    if sys.platform == "win32" or not grouped:
        children = Children(module_folders=folders)
    else:
        children = Children(module_folders=folders, groups=open_control_groups("auto"))
    return LocalWorkers(children, Sections(), settings)
