"""The modules of :class:`nni_plugins.spaces.heads.Head`. Each takes the last feature map and the image's size."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from .heads import Head

Size = tuple[int, int]


class LinearHead(nn.Linear):
    """Global average pooling and a linear layer: (B, C, h, w) -> (B, classes)."""

    def forward(self, x: torch.Tensor, size: Size | None = None) -> torch.Tensor:
        return super().forward(x.mean((2, 3)))


class JigsawHead(nn.Linear):
    """The pooled features of T tiles side by side: (B T, C, h, w) -> (B, classes)."""

    def __init__(self, channels: int, classes: int, tiles: int) -> None:
        super().__init__(channels * tiles, classes)
        self.tiles = tiles

    def forward(self, x: torch.Tensor, size: Size | None = None) -> torch.Tensor:
        return super().forward(x.mean((2, 3)).reshape(-1, self.in_features))


class PixelHead(nn.Conv2d):
    """A 1x1 convolution, resized to the image: (B, C, h, w) -> (B, classes, H, W)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes, 1)

    def forward(self, x: torch.Tensor, size: Size) -> torch.Tensor:  # type: ignore[override]
        return F.interpolate(super().forward(x), size, mode="bilinear", align_corners=True)


def _conv_bn_relu(inputs: int, outputs: int, rate: int = 0) -> nn.Sequential:
    conv = (
        nn.Conv2d(inputs, outputs, 3, padding=rate, dilation=rate, bias=False)
        if rate
        else nn.Conv2d(inputs, outputs, 1, bias=False)
    )
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class ASPPHead(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al., 2017, as in UnNAS): (B, C, h, w) -> (B, classes, H, W).

    In training the branch of the pooled image needs more than one image a device, because it is batch-normalised at
    1x1.
    """

    def __init__(self, inputs: int, classes: int, channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [_conv_bn_relu(inputs, channels), *(_conv_bn_relu(inputs, channels, rate) for rate in rates)]
        )
        self.image = _conv_bn_relu(inputs, channels)
        self.joined = _conv_bn_relu((2 + len(rates)) * channels, channels)
        self.classes = nn.Conv2d(channels, classes, 1)

    def forward(self, x: torch.Tensor, size: Size) -> torch.Tensor:
        pooled = self.image(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        y = self.classes(self.joined(torch.cat([*(branch(x) for branch in self.branches), pooled], 1)))
        return F.interpolate(cast(torch.Tensor, y), size, mode="bilinear", align_corners=True)


def build(head: Head, channels: int, classes: int) -> nn.Module:
    """The module of ``head`` on ``channels`` channels."""
    if head.kind == "linear":
        return LinearHead(channels, classes)
    if head.kind == "jigsaw":
        return JigsawHead(channels, classes, head.tiles)
    if head.kind == "pixels":
        return PixelHead(channels, classes)
    return ASPPHead(channels, classes, head.channels, head.rates)
