"""Where a model's tensors live."""

from __future__ import annotations

import torch


class LoadRefused(Exception):
    """A model can't be loaded, in words for the operator: what, which, and what to do."""


def choose_device(name: str) -> torch.device:
    """The device that model.toml names, examined.

    Raises:
        LoadRefused: torch does not know it or this machine has none.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise LoadRefused(f"device '{name}' is none that torch knows; write cpu, cuda or cuda:0") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise LoadRefused(f"device '{name}' is not supported; write cpu, cuda or cuda:0")
    if not torch.cuda.is_available():
        build = torch.version.cuda or "a CPU build"
        raise LoadRefused(
            f"device '{name}': torch {torch.__version__} ({build}) sees no CUDA device here; "
            'install a CUDA build of torch and a driver that fits it, or set device = "cpu" in model.toml'
        )
    found = torch.cuda.device_count()
    if device.index is not None and device.index >= found:
        raise LoadRefused(f"device '{name}': this machine has {found} CUDA devices, cuda:0 to cuda:{found - 1}")
    return device
