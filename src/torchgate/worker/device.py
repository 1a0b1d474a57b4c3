"""Where a model's tensors live."""

from __future__ import annotations

import re

import torch

_SUPPORTED = re.compile(r"cpu|cuda(:\d{1,3})?")


class LoadRefused(Exception):
    """A model can't be loaded, in words for the operator: what, which, and what to do."""


def choose_device(name: str) -> torch.device:
    """The device that model.toml names, examined.

    Raises:
        LoadRefused: it is none that we support, or this machine has none.
    """
    if not _SUPPORTED.fullmatch(name):
        raise LoadRefused(f"device '{name}' is not supported; write cpu, cuda or cuda:0")
    device = torch.device(name)
    if device.type == "cpu":
        return device
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


def bound_device_memory(device: torch.device, fraction: float) -> None:
    """Let torch's allocator give out no more than this part of the device's memory; 0: all.

    Contexts, libraries' workspaces and other allocators are outside: it stops accidents, not intent.
    """
    if fraction and device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(fraction, device)
