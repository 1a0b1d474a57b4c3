"""A loaded model, whatever its format."""

from __future__ import annotations

from typing import NamedTuple

import torch

from torchgate.worker.runner import Predict


class LoadedModel(NamedTuple):
    """What the loop needs of it, and the networks in it, as far as they are known: what tuning can change."""

    predict: Predict
    device: torch.device
    modules: tuple[torch.nn.Module, ...] = ()
