"""A model space of a user's, with every choice that NNI has: elastic widths and kernels, nested layers, depth, inputs."""

from __future__ import annotations

import nni
import torch
from nni.nas.nn.pytorch import (
    InputChoice,
    LayerChoice,
    ModelSpace,
    MutableBatchNorm2d,
    MutableConv2d,
    MutableLinear,
    Repeat,
)
from torch import nn


def convolution(channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        MutableConv2d(channels, channels, kernel, padding=kernel // 2, bias=False),
        MutableBatchNorm2d(channels),
        nn.ReLU(),
    )


class Toy(ModelSpace):
    """Width 4 or 8, kernel 3 or 5, one to three blocks, two of three inputs, and any of three."""

    def __init__(self, widths: tuple[int, ...] = (4, 8), num_classes: int = 10) -> None:
        super().__init__()
        channels, kernel = nni.choice("net_width", list(widths)), nni.choice("net_kernel", [3, 5])
        self.stem = nn.Sequential(
            MutableConv2d(3, channels, kernel, stride=2, padding=(kernel - 1) // 2, bias=False),
            MutableBatchNorm2d(channels, momentum=0.3),
            nn.ReLU(),
        )

        def block(i: int) -> nn.Module:
            inner = LayerChoice([convolution(channels, 1), convolution(channels, 3)], label=f"inner_{i}")
            layers = {"conv3": convolution(channels, 3), "nested": nn.Sequential(inner), "skip": nn.Identity()}
            return LayerChoice(layers, label=f"layer_{i}")

        self.blocks = Repeat(block, (1, 3), label="depth")
        self.two = InputChoice(3, n_chosen=2, reduction="mean", label="two")
        self.any = InputChoice(3, n_chosen=None, reduction="sum", label="any")
        self.head = nn.Sequential(nn.Dropout(0.2), MutableLinear(channels, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.blocks(x)
        z = self.two([x, y, x - y.abs()])
        return self.head(self.any([y, z, y - z.abs()]).mean((2, 3)))
