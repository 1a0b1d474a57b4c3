"""What the operating system grants this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from torchgate.contract.diagnosis import Diagnosis, amber, ok, skipped
from torchgate.doctor.world import World


def limits(world: World) -> Iterator[Diagnosis]:
    """Memory that may be committed, open files, locked memory."""
    yield from world.machine.limits()


def control_groups(world: World) -> Iterator[Diagnosis]:
    """Whether workers get control groups, without which some limits are not held."""
    if sys.platform == "win32" or world.is_windows:
        yield skipped("Linux alone has control groups; on Windows each worker has a job.")
        return
    from torchgate.posix.group_place import CONTROLLERS, NoControlGroups, find_place  # here: of this system alone

    setting = world.settings.engine.control_group
    if setting == "off":
        yield skipped("engine.control_group is off.", place="engine.control_group")
        return
    remedy = "systemd: Delegate=yes in the unit; or name a group that this account may write in engine.control_group."
    try:
        place = find_place(setting)
        missing = sorted(set(CONTROLLERS) - place.controllers())
    except (NoControlGroups, OSError) as error:
        seen = f"workers get no control groups: {error}."
        yield amber(seen, "limits of processes and CPU that hold", remedy, place="engine.control_group")
        return
    if missing:
        seen = f"{place.folder} lacks the controllers {', '.join(missing)}."
        yield amber(seen, "memory, pids and cpu", remedy, place="engine.control_group")
    else:
        yield ok(f"workers get control groups in {place.folder}.", place="engine.control_group")
