"""The build of torch and the devices that it sees, which may be fewer than the machine has."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from torchgate.contract.gpu_driver import DriverFacts
from torchgate.contract.survey import Device, TorchFacts

_MIB = 1 << 20


def torch_facts(build: Any = torch) -> tuple[TorchFacts, str]:
    """The build; and what torch complained of when it looked for devices, or empty.

    Args:
        build: the module.
    """
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        # Asked first: torch says by a warning, and once, why it can't use a device, e.g. of a driver that is too old.
        build.cuda.is_available()
    facts = TorchFacts(
        version=str(build.__version__),
        git=build.version.git_version or "",
        cuda=build.version.cuda or "",
        cudnn=build.backends.cudnn.version() or 0,
        architectures=tuple(sorted(build.cuda.get_arch_list())),
    )
    return facts, " ".join(str(one.message).strip() for one in complaints)


def driver_cuda(build: Any = torch) -> int:
    """The newest CUDA of the driver as torch's runtime sees it; 0 where there is none."""
    # Builds without CUDA lack it.
    ask = getattr(build._C, "_cuda_getDriverVersion", None)
    return int(ask()) if ask is not None else 0


def torch_devices(driver: DriverFacts, build: Any = torch) -> tuple[Device, ...]:
    """In torch's order: what workers may use.

    Args:
        driver: knows the driver models, by UUID.
    """
    if not build.cuda.is_available():
        return ()
    devices = []
    for index in range(build.cuda.device_count()):
        properties = build.cuda.get_device_properties(index)
        devices.append(
            Device(
                name=properties.name,
                capability=f"{properties.major}.{properties.minor}",
                memory_mib=properties.total_memory // _MIB,
                driver_model=_driver_model(str(getattr(properties, "uuid", "")), driver),
            )
        )
    return tuple(devices)


def _driver_model(uuid: str, driver: DriverFacts) -> str:
    """NVML writes `GPU-` before what torch calls the UUID."""
    return next((model for name, model in driver.models.items() if uuid and name.endswith(uuid)), "")
