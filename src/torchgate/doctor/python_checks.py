"""The interpreter, its virtual environment, and what they need of the system. Source: iis.md 9.18 to 9.21."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from torchgate.contract.diagnosis import Diagnosis, amber, ok, red, skipped
from torchgate.doctor.places import reason, unreadable
from torchgate.doctor.world import World

_OLDEST = (3, 11)
_PER_USER = re.compile(r"[\\/]users[\\/](?!public[\\/])", re.IGNORECASE)
_STORE = re.compile(r"[\\/]windowsapps[\\/]", re.IGNORECASE)
_FOR_ALL = "Install Python for all users, and make the virtual environment from it, outside of C:\\Users."
_RUNTIME = ("vcruntime140.dll", "vcruntime140_1.dll", "msvcp140.dll")
"""What torch's own hint names. Source: torch/__init__.py, _load_dll_libraries."""
_PROFILE_VARIABLES = ("USERPROFILE", "LOCALAPPDATA", "APPDATA", "TEMP", "TMP")


def interpreter(world: World) -> Iterator[Diagnosis]:
    """Version, width, and where it was installed."""
    python = world.interpreter
    if python.bits != 64:
        yield red(
            f"Python is of {python.bits} bits.", "64 bits", "Install the 64-bit Python; torch exists for no other."
        )
    if tuple(int(part) for part in python.version.split(".")[:2]) < _OLDEST:
        yield red(f"Python is {python.version}.", "Python 3.11 or later", "Install a later one.")
    for path in dict.fromkeys((python.executable, python.base)):
        yield from _program(path, world)


def _program(path: Path, world: World) -> Iterator[Diagnosis]:
    if why := unreadable(path):
        yield red(f"it can't be read: {why}.", "readable for this account", _FOR_ALL, place=str(path))
    elif world.is_windows and _STORE.search(str(path)):
        seen = "it is an app of the Microsoft Store, which is installed for one user and can't be run by IIS."
        yield red(seen, "an installation for all users", _FOR_ALL, place=str(path))
    elif world.is_windows and _PER_USER.search(str(path)):
        seen = "it is in one user's profile, which an application pool's identity can't read."
        verdict = red if world.configuration.settings is None or world.is_behind_iis else amber
        yield verdict(seen, "an installation for all users", _FOR_ALL, place=str(path))
    else:
        yield ok(f"Python {world.interpreter.version}, {world.interpreter.bits} bits.", place=str(path))


def virtual_environment(world: World) -> Iterator[Diagnosis]:
    """The environment, and the interpreter that its pyvenv.cfg names."""
    python = world.interpreter
    if not python.is_virtual:
        yield skipped("there is no virtual environment; packages of other programs are shared.")
        return
    settings = python.prefix / "pyvenv.cfg"
    try:
        lines = settings.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        seen = f"it can't be read: {getattr(error, 'strerror', None) or 'it is no text'}."
        yield red(seen, "readable for this account", "Give the account read access to the whole environment.")
        return
    pairs = (line.partition("=")[::2] for line in lines if "=" in line)
    home = next((value.strip() for key, value in pairs if key.strip().lower() == "home"), "")
    if not home:
        yield red(
            "it names no home.", "home = FOLDER of the interpreter", "Make the environment anew.", place=str(settings)
        )
    elif why := unreadable(Path(home)):
        seen = f"its home {home} can't be read: {why}."
        yield red(seen, "the interpreter that it was made from", _FOR_ALL, place=str(settings))
    else:
        yield ok(f"made from {home}.", place=str(python.prefix))


def runtime(world: World) -> Iterator[Diagnosis]:
    """The Visual C++ runtime."""
    if not world.is_windows:
        yield skipped("Windows alone has it.")
    elif missing := world.machine.missing_libraries(_RUNTIME):
        remedy = "Install the Microsoft Visual C++ Redistributable 2015-2022 (x64); torch fails with WinError 126 else."
        yield red(f"{', '.join(missing)} can't be loaded.", "the Visual C++ runtime", remedy)
    else:
        yield ok(f"{', '.join(_RUNTIME)} can be loaded.")


def profile(world: World) -> Iterator[Diagnosis]:
    """Whether the environment leads into the system's own profile, as that of a pool without a profile does."""
    if not world.is_windows:
        yield skipped("Windows alone has it.")
        return
    leading = [
        name
        for name in _PROFILE_VARIABLES
        if "systemprofile" in world.environment.get(name, "").replace("/", "\\").lower()
    ]
    if leading:
        yield red(
            f"{', '.join(leading)} lead to the system's own profile, where nothing may be written.",
            "a profile, or folders, of this account",
            'Set <processModel loadUserProfile="true" setProfileEnvironment="true"/> for the pool.',
        )
    else:
        yield ok("the environment does not lead to the system's own profile.")


def job(world: World) -> Iterator[Diagnosis]:
    """IIS's modules refuse a job of more than 16 processes while they look for the port's owner (iis.md 1.7)."""
    if not world.is_windows:
        yield skipped("Windows alone has job objects.")
        return
    try:
        count = len(world.machine.job_processes())
    except OSError as error:
        yield skipped(f"the processes of our job can't be seen: {reason(error)}.")
        return
    launcher = 1 if world.interpreter.is_virtual else 0
    if count > _MOST_PROCESSES:
        yield red(
            f"this process is in a job of {count} processes.",
            f"at most {_MOST_PROCESSES}, or IIS's module can't find who owns the port and ends the server",
            "Run the models by `torchgate pool`, so that IIS starts a gate without workers.",
        )
    elif launcher:
        yield ok(f"{count} processes in our job; python.exe here is a launcher, and IIS's module looks for its child.")
    else:
        yield ok(f"{count} processes in our job.")


_MOST_PROCESSES = 16
"""MAX_ACTIVE_CHILD_PROCESSES of ASP.NET Core Module V2. Source: iis.md 1.7."""
