"""Candidate operations, shared by every cell-based space. Inputs and outputs are (B, C, H, W); all keep the spatial size at stride 1."""

from __future__ import annotations

import torch
from torch import nn


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution without bias, batch norm: NAS-Bench-201's ``nor_conv_kxk``."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, affine: bool = True) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, affine=affine),
        )


class Zero(nn.Module):
    """The ``none`` operation: zeros of the input's shape, with no gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


def average_pool(kernel: int = 3) -> nn.Module:
    """Average over a window that ignores its padding (``count_include_pad=False``), without batch norm."""
    return nn.AvgPool2d(kernel, stride=1, padding=kernel // 2, count_include_pad=False)


def candidate(name: str, channels: int, affine: bool = True) -> nn.Module:
    """The NAS-Bench-201 operation called ``name`` on ``channels`` channels."""
    if name == "none":
        return Zero()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return average_pool()
    kernel = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}[name]
    return ReLUConvBN(channels, channels, kernel, affine=affine)
