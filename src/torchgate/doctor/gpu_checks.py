"""The graphics driver, asked without torch: by the program that every NVIDIA driver brings. Source: ops.md 3.1, 3.4."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from torchgate.contract.diagnosis import Diagnosis, amber, ok, red, skipped
from torchgate.contract.programs import ProgramAnswer
from torchgate.doctor.places import reason
from torchgate.doctor.world import World
from torchgate.engine.catalog import read_catalog

_FIELDS = ("index", "name", "driver_version", "memory.total", "memory.used", "driver_model.current", "compute_mode")
_QUESTION = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
_TIMEOUT_S = 12.0
_GRAPHICS = r"SYSTEM\CurrentControlSet\Control\GraphicsDrivers"
_DEFAULT_DELAY_S = 2
"""TdrDelay. Source: Microsoft Learn, "TDR registry keys"."""
_WANTED_DELAY_S = 60
_OFF = 0
"""TdrLevelOff."""


class Gpu(msgspec.Struct, frozen=True):
    """One device as nvidia-smi says it; texts that it does not know are like `[N/A]`."""

    index: str
    name: str
    driver: str
    memory_mib: str
    used_mib: str
    model: str
    mode: str


def wanting_cuda(world: World) -> dict[str, str]:
    """Model version → device, of those that want one with CUDA."""
    entries = read_catalog(world.settings.models)[0].entries
    return {
        str(ref): entry.artifact.device
        for ref, entry in entries.items()
        if not entry.mistake and entry.artifact.device.startswith("cuda")
    }


def driver(world: World) -> Iterator[Diagnosis]:
    """Whether there is a driver where a model wants one, and in which mode each device is."""
    models = wanting_cuda(world)
    try:
        answer = world.programs.run(_QUESTION, _TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        answer = ProgramAnswer(1, reason(error) if isinstance(error, OSError) else str(error))
    gpus = parse_gpus(answer.output) if answer.code == 0 else ()
    if not gpus:
        yield from _none(models, answer)
        return
    for gpu in gpus:
        yield from _device(gpu, world, is_wanted=bool(models))


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """The devices in an answer of nvidia-smi; lines of another kind are passed over."""
    rows = (tuple(field.strip() for field in line.split(",")) for line in text.splitlines())
    return tuple(Gpu(*row) for row in rows if len(row) == len(_FIELDS) and row[0].isdecimal())


def _none(models: dict[str, str], answer: ProgramAnswer) -> Iterator[Diagnosis]:
    said = " ".join(answer.output.split())[:200] or f"exit code {answer.code}"
    if models:
        some = ", ".join(f"{ref} ({device})" for ref, device in list(models.items())[:3])
        remedy = 'Install the NVIDIA driver and see that nvidia-smi answers, or set device = "cpu" in model.toml.'
        seen = f"nvidia-smi tells of no device ({said}); models that want one: {some}."
        yield red(seen, "a driver and a device", remedy)
    else:
        yield skipped(f"nvidia-smi tells of no device ({said}), and no model wants one.")


def _device(gpu: Gpu, world: World, *, is_wanted: bool) -> Iterator[Diagnosis]:
    place = f"GPU {gpu.index}"
    what = f"{gpu.name}, driver {gpu.driver}, {gpu.used_mib} of {gpu.memory_mib} MiB in use"
    mode = f", {gpu.model}" if world.is_windows else ""
    yield ok(f"{what}{mode}.", place=place)
    if gpu.mode.lower() == "prohibited":
        remedy = "Set it back: nvidia-smi -c 0."
        yield red(f"its compute mode is {gpu.mode}: nobody may compute.", "Default", remedy, place=place)
    elif gpu.mode.lower() == "exclusive_process":
        remedy = "Set it to Default (nvidia-smi -c 0), or run one worker on it, without overlapping recycles."
        yield amber(f"its compute mode is {gpu.mode}: one process alone may compute.", "Default", remedy, place=place)
    if world.is_windows and gpu.model.upper() == "WDDM" and is_wanted:
        yield from _wddm(world, place)


def _wddm(world: World, place: str) -> Iterator[Diagnosis]:
    """A desktop's driver model: Windows resets the device under everybody when one kernel takes too long."""
    level = world.machine.registry_value(_GRAPHICS, "TdrLevel")
    delay = world.machine.registry_value(_GRAPHICS, "TdrDelay")
    delay_s = delay if isinstance(delay, int) else _DEFAULT_DELAY_S
    remedy = f"Better nvidia-smi -dm MCDM (no display); else TdrDelay = {_WANTED_DELAY_S} in {_GRAPHICS}, and restart."
    if level != _OFF and delay_s < _WANTED_DELAY_S:
        seen = f"driver model WDDM: a kernel of more than {delay_s} s has the device reset, for all processes."
        yield amber(seen, f"MCDM or TCC, or TdrDelay of {_WANTED_DELAY_S} s", remedy, place=place)
    else:
        seen = "driver model WDDM: memory that a process uses is not told, and session 0 is not promised a device."
        yield amber(seen, "MCDM or TCC on a server", remedy, place=place)
