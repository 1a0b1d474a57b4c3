"""A loaded model, whatever its format."""

from __future__ import annotations

from typing import NamedTuple

import torch

from torchgate.worker.runner import Predict


class LoadedModel(NamedTuple):
    """What the loop needs of it."""

    predict: Predict
    device: torch.device
