"""The CPU threads of this worker, as its environment says."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def bound_threads(environment: Mapping[str, str]) -> None:
    """Give torch's own pool the same size as OpenMP's; one thread between operators.

    Torch on Windows and with MKL does not follow OMP_NUM_THREADS everywhere, so that it is told.

    Source: measured, two workers on two cores with two threads each lose 10 to 20 times to spinning.
    """
    threads = environment.get("OMP_NUM_THREADS", "")
    if threads.isdecimal() and int(threads) > 0:
        torch.set_num_threads(int(threads))
    torch.set_num_interop_threads(1)
