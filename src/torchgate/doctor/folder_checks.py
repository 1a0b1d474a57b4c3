"""Folders that the server and its workers write to. Source: iis.md 9.18; torch, triton and Python say where."""

from __future__ import annotations

import getpass
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from torchgate.contract.diagnosis import Diagnosis, amber, ok, red, skipped
from torchgate.doctor.places import reason, unwritable
from torchgate.doctor.world import World
from torchgate.engine.worker_environment import worker_environment

_GIB = 1 << 30
_LITTLE_BYTES = 1 * _GIB
_TOO_LITTLE_BYTES = 100 << 20


def caches(world: World) -> Iterator[Diagnosis]:
    """Where torch and what it compiles by keep files, as a worker finds them."""
    environment = worker_environment(world.environment, world.settings.engine.worker_environment, 1)
    for name, folder in _cache_folders(environment).items():
        if why := unwritable(folder):
            yield red(
                f"{name} is {folder}, where nothing can be written: {why}.",
                "a folder that workers may write to",
                f"Set {name} to such a folder: behind IIS in the environment of the pool.",
            )
        else:
            yield ok(f"{name} is {folder}, and can be written.")


def _cache_folders(environment: Mapping[str, str]) -> dict[str, Path]:
    home = Path(environment.get("USERPROFILE") or environment.get("HOME") or Path.home())
    general = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    temporary = Path(_temporary(environment))
    return {
        "TORCH_HOME": Path(environment.get("TORCH_HOME") or general / "torch"),
        "TORCHINDUCTOR_CACHE_DIR": Path(
            environment.get("TORCHINDUCTOR_CACHE_DIR") or temporary / f"torchinductor_{_user()}"
        ),
        "TRITON_CACHE_DIR": Path(
            environment.get("TRITON_CACHE_DIR") or Path(environment.get("TRITON_HOME") or home) / ".triton" / "cache"
        ),
    }


def _temporary(environment: Mapping[str, str]) -> str:
    return next((environment[name] for name in ("TMPDIR", "TEMP", "TMP") if environment.get(name)), "") or (
        tempfile.gettempdir()
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no name in the environment, and none in the system
        return "unknown"


def temporary(world: World) -> Iterator[Diagnosis]:
    """The folder for temporary files, and room in it."""
    folder = Path(_temporary(world.environment))
    if why := unwritable(folder):
        yield red(f"nothing can be written into {folder}: {why}.", "a folder to write to", "Set TEMP (TMPDIR) to one.")
    else:
        yield from space(folder, "temporary files")


def state(world: World) -> Iterator[Diagnosis]:
    """The state folder: writable for us, and for nobody else."""
    folder = world.settings.state.folder
    if why := unwritable(folder):
        remedy = f"Give {folder} to the account that runs the server, or name another one."
        yield red(f"nothing can be written into {folder}: {why}.", "a folder to write to", remedy, place="state.folder")
        return
    yield from closed_to_others(world, folder, "state.folder")
    yield from around(world, folder, "state.folder")
    yield from space(folder, "the state folder")


def closed_to_others(world: World, folder: Path, setting: str) -> Iterator[Diagnosis]:
    """Whether others may change what lies in a folder."""
    if not folder.exists():
        yield ok(f"{folder} is not there yet; the server makes it, for its account alone.")
        return
    try:
        others = world.machine.writers(folder)
    except OSError as error:
        yield skipped(f"who may write into {folder} can't be seen: {reason(error)}.", place=setting)
        return
    if others:
        yield red(
            f"{folder}: {others}.",
            "nobody but this account, administrators and the system",
            "Take that right away; a start of the server does so, too.",
            place=setting,
        )
    else:
        yield ok(f"{folder} can be written by this account, and by no other.")


def around(world: World, folder: Path, setting: str) -> Iterator[Diagnosis]:
    """Whether others may put another folder in the place of it, or of one around it."""
    sentences = world.machine.swappers(folder)
    for sentence in sentences:
        seen, _, remedy = sentence.rpartition(". ")
        yield amber(f"{seen}.", "nobody but this account and administrators", f"{remedy}.", place=setting)
    if not sentences:
        yield ok(f"no folder around {folder} can be replaced by others.")


def space(folder: Path, what: str) -> Iterator[Diagnosis]:
    """Whether a disk has room left."""
    place = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        yield skipped(f"how much room {what} has can't be seen: {reason(error)}.", place=str(place))
        return
    yield from room(free, what, place)


def room(free: int, what: str, place: Path) -> Iterator[Diagnosis]:
    """Whether so many bytes are enough."""
    seen, remedy = f"{free / _GIB:.1f} GiB are free for {what}.", "Make room, or name a folder on another disk."
    if free < _TOO_LITTLE_BYTES:
        yield red(seen, f"at least {_LITTLE_BYTES / _GIB:g} GiB", remedy, place=str(place))
    elif free < _LITTLE_BYTES:
        yield amber(seen, f"at least {_LITTLE_BYTES / _GIB:g} GiB", remedy, place=str(place))
    else:
        yield ok(seen, place=str(place))
