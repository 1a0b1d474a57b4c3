"""The NVIDIA driver, asked by NVML.

In a process that can be thrown away: a call into a broken driver may never return. NVML counts every device of the
machine, whatever CUDA_VISIBLE_DEVICES says; which of them workers may use, only torch knows.

Source: NVML API Reference (nvmlSystemGetDriverVersion, nvmlSystemGetCudaDriverVersion_v2, nvmlDeviceGetDriverModel_v2:
"For Windows only", NVML_ERROR_NOT_SUPPORTED elsewhere); nvidia-ml-py, whose functions give `str` and `int`.
"""

from __future__ import annotations

import importlib
from typing import Any

from torchgate.contract.gpu_driver import DriverFacts

_MODELS = {0: "WDDM", 1: "TCC", 2: "MCDM"}
"""NVML_DRIVER_WDDM, NVML_DRIVER_WDM (the name under which TCC goes), NVML_DRIVER_MCDM."""


class NvmlDriver:
    """Implements contract.gpu_driver.GpuDriver.

    Args:
        nvml: the module `pynvml` of nvidia-ml-py.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml

    def facts(self) -> DriverFacts:
        """As the driver answers now; what it does not answer is its trouble."""
        nvml = self._nvml
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            return DriverFacts(trouble=f"NVML does not start: {error}")
        try:
            release = str(nvml.nvmlSystemGetDriverVersion())
            cuda = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            return DriverFacts(release, cuda, {str(nvml.nvmlDeviceGetUUID(one)): self._model(one) for one in handles})
        except nvml.NVMLError as error:
            return DriverFacts(trouble=f"NVML does not answer: {error}")
        finally:
            nvml.nvmlShutdown()

    def _model(self, handle: Any) -> str:
        try:
            return _MODELS.get(self._nvml.nvmlDeviceGetCurrentDriverModel(handle), "unknown")
        except self._nvml.NVMLError:  # Linux has none
            return ""


class NoDriverLibrary:
    """Implements contract.gpu_driver.GpuDriver where nvidia-ml-py is not installed."""

    def facts(self) -> DriverFacts:
        """Nothing but what to install."""
        return DriverFacts(trouble="nvidia-ml-py is not installed, so that nobody asks the driver: torchgate[nvml]")


def nvidia_driver() -> NvmlDriver | NoDriverLibrary:
    """The driver of this machine."""
    try:
        return NvmlDriver(importlib.import_module("pynvml"))
    except ImportError:
        return NoDriverLibrary()
