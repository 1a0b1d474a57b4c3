"""torch as a worker meets it: imported, and made to compute, in a throw-away process. Source: ops.md 3.1 to 3.3."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from torchgate.contract.diagnosis import Diagnosis, amber, ok, red
from torchgate.contract.survey import Device, Facts
from torchgate.doctor.gpu_checks import wanting_cuda
from torchgate.doctor.world import World
from torchgate.engine.pin.compare import mismatches
from torchgate.engine.pin.lock import LOCK_FILE, LockRefused, lock_of, read_lock
from torchgate.engine.pin.surveyor import Seen, SurveyEnded, Surveyor
from torchgate.engine.worker_environment import worker_environment

LIMIT_S = 180.0
"""Of the whole check; importing torch takes seconds, and on a cold disk a minute."""
_TIMEOUT_S = 150.0
_RUNTIME = (
    "Install the Microsoft Visual C++ Redistributable 2015-2022 (x64), and torch again; look for another CUDA_PATH."
)
_REMEDIES = (
    (re.compile(r"No module named 'torch'"), "Install torch, in this very environment."),
    (re.compile(r"WinError 126\b|DLL load failed"), _RUNTIME),
    (
        re.compile(r"WinError (127|1114)\b"),
        "A library of another version comes first in PATH, often OpenMP or a driver's; take it out of PATH.",
    ),
    (
        re.compile(r"WinError 1455\b"),
        "Make the paging file larger: each process with torch and CUDA commits several GB.",
    ),
    (re.compile(r"libcuda|libcudart|libcublas|libcudnn"), "Install torch again with its CUDA libraries (nvidia-*)."),
)
_FLOORS: Mapping[int, tuple[int, int]] = MappingProxyType({11: (450, 452), 12: (525, 527), 13: (580, 580)})
"""CUDA's major version → the oldest driver, on Linux and on Windows, that runs it. Source: ops.md 3.1."""
_SHOWN_LINES = 3


def torch(world: World) -> Iterator[Diagnosis]:
    """The import, the build against driver and devices, and a small computation on each device."""
    environment = worker_environment(world.environment, world.settings.engine.worker_environment, 1)
    timeout_s = min(world.settings.pin.timeout_s, _TIMEOUT_S)
    surveyor = Surveyor(world.children, environment, timeout_s)
    try:
        seen = asyncio.run(surveyor.survey(None))
    except SurveyEnded as error:
        yield _not_imported(error)
        return
    yield from told(seen, wanting_cuda(world), is_windows=world.is_windows)
    yield from against_lock(world, seen)


def told(seen: Seen, models: Mapping[str, str], *, is_windows: bool) -> Iterator[Diagnosis]:
    """What was found out, as findings.

    Args:
        models: model version → device, of those that want one with CUDA.
    """
    facts = seen.facts
    build = f"CUDA {facts.torch.cuda}" if facts.torch.cuda else "without CUDA"
    yield ok(f"torch {facts.torch.version} ({build}) can be imported with a worker's environment.")
    yield from _devices(facts)
    yield from _computations(seen)
    for ref, device in models.items():
        yield from _wanted(ref, device, seen)
    yield from _driver(facts, is_windows=is_windows)


def against_lock(world: World, seen: Seen) -> Iterator[Diagnosis]:
    """This installation beside its lock; models are compared when they are loaded."""
    file = world.folder / LOCK_FILE
    try:
        lock = read_lock(file)
    except LockRefused as refused:
        yield red(str(refused), "a lock that can be read", "Write it anew: torchgate pin", place=str(file))
        return
    if lock is None:
        return
    verdict = red if world.settings.pin.mode == "enforce" else amber
    found = mismatches(lock, lock_of(seen.facts, seen.canaries, {}), seen.troubles)
    for one in found:
        yield verdict(f"{one.fact} is {one.seen}.", f"{one.locked}, as locked", f"{one.remedy}.", place=str(file))
    if not found:
        yield ok("this installation is what was locked.", place=str(file))


def _not_imported(error: SurveyEnded) -> Diagnosis:
    said = " ".join([str(error), *error.printed[-_SHOWN_LINES:]])
    remedy = next(
        (text for pattern, text in _REMEDIES if pattern.search(said)),
        'Run `python -c "import torch"` in this environment, as this account, and read what it says.',
    )
    return red(f"torch can't be used with a worker's environment: {said}.", "torch that can be imported", remedy)


def _devices(facts: Facts) -> Iterator[Diagnosis]:
    for index, device in enumerate(facts.devices):
        seen = f"{device.name}, capability {device.capability}, {device.memory_mib} MiB."
        if fits_architectures(device, facts.torch.architectures):
            yield ok(seen, place=f"cuda:{index}")
            continue
        wanted = f"one of {', '.join(facts.torch.architectures)}"
        remedy = "Install a torch whose wheel names this capability; on Windows nothing is compiled for newer devices."
        yield red(f"{seen} torch has no kernels for it.", wanted, remedy, place=f"cuda:{index}")


def fits_architectures(device: Device, architectures: tuple[str, ...]) -> bool:
    """Whether a build has kernels for a device: those of its own major version and no newer minor one.

    Source: NVIDIA, "CUDA C++ Programming Guide", binary compatibility; `compute_` entries are compiled where they run.
    """
    major, _, minor = device.capability.partition(".")
    for name in architectures:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", name)
        if found is None:
            continue
        has = (int(found[2]), int(found[3]))
        if found[1] == "sm" and has[0] == int(major) and has[1] <= int(minor):
            return True
        if found[1] == "compute" and has <= (int(major), int(minor)):
            return True
    return False


def _computations(seen: Seen) -> Iterator[Diagnosis]:
    for device in seen.canaries:
        yield ok(f"{device} computes.", place=device)
    for device, why in seen.failures.items():
        remedy = "See nvidia-smi and the event log; until it computes, take it out of CUDA_VISIBLE_DEVICES."
        yield red(f"{device} does not compute: {why}.", "an answer", remedy, place=device)


def _wanted(ref: str, name: str, seen: Seen) -> Iterator[Diagnosis]:
    facts = seen.facts
    if not facts.torch.cuda:
        remedy = 'Install a build with CUDA (its version ends in +cu…), or set device = "cpu" in model.toml.'
        seen_text = f"{ref} wants {name}, and torch {facts.torch.version} is a build without CUDA."
        yield red(seen_text, "a build with CUDA", remedy, place=ref)
    elif int(name.partition(":")[2] or 0) >= len(facts.devices):
        trouble = f" ({facts.trouble})" if facts.trouble else ""
        remedy = "Look at the driver, CUDA_VISIBLE_DEVICES, and whether this account may use the device."
        yield red(f"{ref} wants {name}, and torch sees {len(facts.devices)} devices{trouble}.", name, remedy, place=ref)


def _driver(facts: Facts, *, is_windows: bool) -> Iterator[Diagnosis]:
    """Whether the driver is new enough for the build, and new enough for all of it."""
    built, has = _cuda(facts.torch.cuda), (facts.driver_cuda // 1000, facts.driver_cuda % 1000 // 10)
    if built is None or not facts.driver_cuda:
        return
    floor = _FLOORS.get(built[0])
    wanted = f"driver {floor[1 if is_windows else 0]} or later" if floor else "a driver for it"
    seen = f"torch is built with CUDA {facts.torch.cuda}, and driver {facts.driver_release} knows {has[0]}.{has[1]}."
    if built[0] > has[0]:
        yield red(seen, wanted, "Install a newer driver, or a torch built with an older CUDA.")
    elif built > has:
        remedy = "Install a driver as new as the build's CUDA: what is compiled where it runs (PTX) fails else."
        yield amber(seen, f"a driver that knows CUDA {facts.torch.cuda}", remedy)
    else:
        yield ok(seen)


def _cuda(text: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None
