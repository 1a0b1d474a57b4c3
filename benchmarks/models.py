"""The networks, with weights from a fixed seed: every process that builds one has the same numbers.

Imports torch alone, for a copy of this file is also put into the model folder that Torchgate serves.
"""

from __future__ import annotations

import torch
from torch import nn

SEED = 20_260_701


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, as in ResNet-18 and -34."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.relu_(self.first_norm(self.first(x)))
        return torch.relu_(self.second_norm(self.second(inner)) + self.shortcut(x))


def resnet18() -> nn.Module:
    """ResNet-18 for 1000 classes: 11.7 million weights. Source: He et al. 2015, table 1."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels_in = 64
    for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [ResidualBlock(channels_in, channels, stride), ResidualBlock(channels, channels, 1)]
        channels_in = channels
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*layers)


def build(name: str) -> nn.Module:
    """A network by name, ready to answer batches of [rows, *row]."""
    torch.manual_seed(SEED)
    network: nn.Module
    if name == "tiny":
        network = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    elif name == "mlp":
        network = nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 256))
    elif name == "resnet18":
        network = resnet18()
    elif name in ("echo1", "echo4"):
        network = nn.Identity()
    else:
        raise ValueError(f"there is no benchmark model {name!r}")
    return network.eval()
