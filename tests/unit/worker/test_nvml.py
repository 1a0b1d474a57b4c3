"""The driver's answers, from recorded machines; and the real nvidia-ml-py, whose functions are the recorded ones."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from tests.fakes.recorded_installation import FOLDER, RecordedNvml, RecordedNvmlError

from torchgate.contract.gpu_driver import DriverFacts
from torchgate.worker.nvml import NoDriverLibrary, NvmlDriver, nvidia_driver


def recorded(name: str) -> RecordedNvml:
    return RecordedNvml(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["nvml"])


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("h200", DriverFacts("580.95.05", 13000, {"GPU-6f1c2d3e-4a5b-4c6d-8e7f-90a1b2c3d4e5": ""})),
        ("rtx_wddm", DriverFacts("581.15", 13000, {"GPU-6f1c2d3e-4a5b-4c6d-8e7f-90a1b2c3d4e5": "WDDM"})),
        ("rtx_tcc", DriverFacts("581.15", 13000, {"GPU-6f1c2d3e-4a5b-4c6d-8e7f-90a1b2c3d4e5": "TCC"})),
        ("h200_no_driver", DriverFacts(trouble="NVML does not start: NVML Shared Library Not Found")),
        ("h200_driver_not_loaded", DriverFacts(trouble="NVML does not start: Driver/library version mismatch")),
    ],
)
def test_a_driver_is_what_nvml_says_of_it(name: str, facts: DriverFacts):
    nvml = recorded(name)
    assert NvmlDriver(nvml).facts() == facts
    assert nvml.inits == 0, "what is begun is ended"


class LostDevice(RecordedNvml):
    """A card that fell off the bus after the driver began."""

    def nvmlDeviceGetUUID(self, handle: dict[str, Any]) -> str:  # noqa: N802
        raise RecordedNvmlError(15)


def test_a_driver_that_fails_in_the_middle_says_nothing_at_all():
    nvml = LostDevice(recorded("h200")._recording)
    assert NvmlDriver(nvml).facts() == DriverFacts(trouble="NVML does not answer: GPU is lost")
    assert nvml.inits == 0


def test_without_the_library_we_say_what_to_install():
    assert "torchgate[nvml]" in NoDriverLibrary().facts().trouble


def test_every_recorded_function_is_one_of_nvidia_ml_py():
    pynvml = pytest.importorskip("pynvml")
    functions = {name: one for name, one in vars(RecordedNvml).items() if name.startswith("nvml")}
    assert len(functions) == 8
    for name, function in functions.items():
        ours = list(inspect.signature(function).parameters)[1:]
        assert list(inspect.signature(getattr(pynvml, name)).parameters) == ours, name
    assert issubclass(pynvml.NVMLError, Exception)


def test_here_the_real_library_answers_or_says_why_not():
    pytest.importorskip("pynvml")
    facts = nvidia_driver().facts()
    assert bool(facts.release) != bool(facts.trouble)
