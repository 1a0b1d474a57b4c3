"""Machines of tests/fixtures/installations, spoken to as the survey speaks to pynvml and torch."""

from __future__ import annotations

import functools
import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torchgate import survey_app
from torchgate.contract.survey import Facts, Wheel
from torchgate.worker.nvml import NvmlDriver

FOLDER = Path(__file__).parent.parent / "fixtures" / "installations"
NOT_SUPPORTED = 3
_WORDS = {
    3: "Not Supported",
    12: "NVML Shared Library Not Found",
    15: "GPU is lost",
    18: "Driver/library version mismatch",
}
"""As nvidia-ml-py says the numbers."""

WHEELS = {
    "numpy": Wheel("2.3.1", "sha256:" + "1" * 64),
    "torch": Wheel("2.11.0+cu130", "sha256:" + "2" * 64),
    "ruamel-yaml": Wheel("0.18", ""),
}


class RecordedNvmlError(Exception):
    """As pynvml.NVMLError: its number is its `value`."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return _WORDS[self.value]


class RecordedNvml:
    """Answers as the module `pynvml`, as far as the survey asks."""

    NVMLError = RecordedNvmlError

    def __init__(self, recording: dict[str, Any]) -> None:
        self._recording = recording
        self.inits = 0

    def nvmlInit(self) -> None:  # noqa: N802 - its name there, as all that follow
        if "init_error" in self._recording:
            raise RecordedNvmlError(self._recording["init_error"])
        self.inits += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.inits -= 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return self._answer(self._recording["driver_version"])

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:  # noqa: N802
        return self._answer(self._recording["cuda_driver_version"])

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self._answer(self._recording["devices"]))

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        return self._answer(self._recording["devices"])[index]

    def nvmlDeviceGetUUID(self, handle: dict[str, Any]) -> str:  # noqa: N802
        return self._answer(handle["uuid"])

    def nvmlDeviceGetCurrentDriverModel(self, handle: dict[str, Any]) -> int:  # noqa: N802
        return self._answer(NOT_SUPPORTED if handle["driver_model"] is None else handle["driver_model"], handle)

    def _answer(self, value: Any, handle: dict[str, Any] | None = None) -> Any:
        if not self.inits:
            raise RecordedNvmlError(1)
        if handle is not None and handle["driver_model"] is None:
            raise RecordedNvmlError(NOT_SUPPORTED)
        return value


def recorded_torch(recording: dict[str, Any]) -> Any:
    """Answers as the module `torch`, as far as the survey asks."""
    devices = [SimpleNamespace(**one) for one in recording["devices"]]

    def is_available() -> bool:
        if recording["warning"]:
            warnings.warn(recording["warning"], stacklevel=2)
        return bool(devices)

    native = SimpleNamespace()
    if recording["driver_version"] is not None:
        native._cuda_getDriverVersion = lambda: recording["driver_version"]
    return SimpleNamespace(
        __version__=recording["version"],
        version=SimpleNamespace(git_version=recording["git_version"], cuda=recording["cuda"]),
        backends=SimpleNamespace(cudnn=SimpleNamespace(version=lambda: recording["cudnn"])),
        cuda=SimpleNamespace(
            is_available=is_available,
            device_count=lambda: len(devices),
            get_device_properties=lambda index: devices[index],
            get_arch_list=lambda: recording["arch_list"],
        ),
        _C=native,
    )


@functools.cache
def recorded_facts(name: str) -> Facts:
    """What the survey says on such a machine, with a few wheels."""
    recording = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    with warnings.catch_warnings():
        # The survey's process has one look at torch's warning; who looks twice hears it twice here.
        warnings.simplefilter("ignore")
        driver = NvmlDriver(RecordedNvml(recording["nvml"])).facts()
        return survey_app.facts_of(driver, WHEELS, recorded_torch(recording["torch"]))
