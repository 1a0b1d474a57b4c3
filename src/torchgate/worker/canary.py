"""A small computation that every sound device answers alike: it proves that kernels load and compute, cuDNN's too.

The inputs are multiples of 1/16 below 1 in magnitude: each product and each sum of the matrix product is exact in
every format that a device may compute it in, TensorFloat-32 included. So what differs is a defect, not a rounding; only
convolutions that transform their inputs, and the softmax, round at all.
"""

from __future__ import annotations

import torch

from torchgate.contract.survey import CanaryFailed, CanaryValues

_SUMS = 8
"""Each over a part of an answer: enough to say that something is wrong, few enough to be read in a lock."""


def canary(name: str) -> CanaryValues | CanaryFailed:
    """What a device computes now; a device that is broken may also end or hang this process.

    Args:
        name: `cpu`, or `cuda:` and a number.
    """
    try:
        device = torch.device(name)
        with torch.inference_mode():
            return CanaryValues(name, {operation: _summed(answer) for operation, answer in _answers(device).items()})
    except (RuntimeError, AssertionError, OSError, ImportError) as error:
        # The first line says what; those after it are torch's advice for programmers.
        return CanaryFailed(name, str(error).strip().partition("\n")[0] or type(error).__name__)


def _answers(device: torch.device) -> dict[str, torch.Tensor]:
    product = _pattern((64, 96), 7).to(device) @ _pattern((96, 80), 11).to(device)
    image, kernel = _pattern((2, 8, 24, 24), 5).to(device), _pattern((16, 8, 3, 3), 13).to(device)
    return {
        "conv": torch.nn.functional.conv2d(image, kernel, padding=1).cpu(),
        "matmul": product.cpu(),
        "softmax": torch.softmax(product / 4, dim=1).cpu(),
    }


def _pattern(shape: tuple[int, ...], step: int) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return ((torch.arange(count) * step % 31 - 15).to(torch.float32) / 16).reshape(shape)


def _summed(answer: torch.Tensor) -> tuple[float, ...]:
    """Weighed by place, so that answers in a wrong order show; six digits, so that they can be read."""
    flat = answer.to(torch.float64).flatten()
    weighed = flat * (torch.arange(len(flat)) % 7 + 1)
    return tuple(float(f"{part.sum().item():.6g}") for part in weighed.chunk(_SUMS))
