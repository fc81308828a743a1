"""Candidate operations, shared by every cell-based space.

Inputs and outputs are (B, C, H, W); with stride 2 the output has ceil(H/2) x ceil(W/2) pixels. Definitions: Liu et al.,
"DARTS", ICLR 2019 (separable and dilated convolutions, pools, skip connections), Zoph et al., CVPR 2018
(``conv_7x1_1x7``), Dong & Yang, ICLR 2020 (``nor_conv``), Zela et al., ICLR 2020 (``noise``). No convolution has a
bias. Costs: :mod:`nni_plugins.spaces.operation_costs`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import nn

from .convolutions import DilatedDepthwise, Pointwise
from .operation_costs import parse
from .staged import Strided


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution without bias, batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, affine: bool = True) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, affine=affine),
        )


class SeparableConv(nn.Sequential):
    """ReLU, depthwise kxk, pointwise, batch norm: twice, the first time with the stride."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, affine: bool = True) -> None:
        def half(step: int) -> list[nn.Module]:
            depthwise = nn.Conv2d(channels, channels, kernel, step, kernel // 2, groups=channels, bias=False)
            return [
                nn.ReLU(),
                depthwise,
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels, affine=affine),
            ]

        super().__init__(*half(stride), *half(1))
        cast(nn.ReLU, self[4]).inplace = True  # nothing else keeps the batch norm's output


class DilatedConv(nn.Sequential):
    """ReLU, depthwise kxk with dilation 2, pointwise, batch norm."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, affine: bool = True) -> None:
        super().__init__(
            nn.ReLU(),
            DilatedDepthwise(channels, kernel, stride),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        )


class FactorizedConv(nn.Sequential):
    """ReLU, 1xk with the stride across, kx1 with the stride down, batch norm (NASNet's ``conv_7x1_1x7``)."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, affine: bool = True) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels, channels, (1, kernel), (1, stride), (0, kernel // 2), bias=False),
            nn.Conv2d(channels, channels, (kernel, 1), (stride, 1), (kernel // 2, 0), bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        )


class FactorizedReduce(Strided):
    """ReLU; two 1x1 convolutions of stride 2, the second shifted by one pixel, side by side; batch norm. Odd sizes are
    rounded up. ``relu=False`` leaves the ReLU out (NAO's skip connections).
    """

    def __init__(self, inputs: int, outputs: int, affine: bool = True, relu: bool = True) -> None:
        super().__init__()
        self.relu = relu
        self.conv_1 = Pointwise(inputs, outputs - outputs // 2, stride=2)
        self.conv_2 = Pointwise(inputs, outputs // 2, stride=2)
        self.bn = nn.BatchNorm2d(outputs, affine=affine)
        self.shift = 1

    def without_stride(self) -> None:
        self.conv_1.stride = self.conv_2.stride = (1, 1)
        self.shift = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after_relu(F.relu(x) if self.relu else x)

    def after_relu(self, x: torch.Tensor) -> torch.Tensor:
        """All that follows the ReLU."""
        return cast(torch.Tensor, self.bn(torch.cat([self.conv_1(x), self.conv_2(self.shifted(x))], 1)))

    def shifted(self, x: torch.Tensor) -> torch.Tensor:
        """What the second convolution reads."""
        return F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:] if self.shift else x


class Zero(Strided):
    """The ``none`` operation: zeros, with no gradient."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def without_stride(self) -> None:
        self.stride = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(Zero):
    """Standard normal noise of the output's shape, drawn again at every forward pass, whatever the input (RobustDARTS,
    space S4).
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.randn_like(x[:, :, :: self.stride, :: self.stride])


class State:
    """A state ``x`` of a cell, and its ReLU, which all operations on it that begin with one share: exact, and a ReLU
    costs as much as a third of a small convolution.
    """

    shares: ClassVar[bool] = True
    """False within :func:`own_relus`."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x
        self._positive: torch.Tensor | None = None

    @property
    def positive(self) -> torch.Tensor:
        """ReLU of ``x``."""
        if self._positive is None or not self.shares:
            self._positive = F.relu(self.x)
        return self._positive

    def through(self, operation: nn.Module) -> torch.Tensor:
        """``operation(x)``."""
        if isinstance(operation, FactorizedReduce):
            return operation.after_relu(self.positive if operation.relu else self.x)
        layers = list(operation) if isinstance(operation, nn.Sequential) else []
        if not layers or not isinstance(layers[0], nn.ReLU):
            return cast(torch.Tensor, operation(self.x))
        y = self.positive
        for layer in layers[1:]:
            y = layer(y)
        return y


@contextmanager
def own_relus() -> Iterator[None]:
    """Within the block every operation on a state computes a ReLU of its own, for whoever counts them."""
    before, State.shares = State.shares, False
    try:
        yield
    finally:
        State.shares = before


def average_pool(kernel: int = 3, stride: int = 1) -> nn.Module:
    """Average over a window that ignores its padding (``count_include_pad=False``), without batch norm."""
    return nn.AvgPool2d(kernel, stride, padding=kernel // 2, count_include_pad=False)


def candidate(
    name: str,
    channels: int,
    stride: int = 1,
    affine: bool = True,
    pool_norm: bool | None = None,
    skip_relu: bool = True,
) -> nn.Module:
    """The operation called ``name`` on ``channels`` channels.

    Args:
        name: see :data:`nni_plugins.spaces.operation_costs.FAMILIES`.
        channels: of input and output.
        stride: 1 or 2.
        affine: whether batch norms learn scale and shift.
        pool_norm: a batch norm after pooling, affine or not; none by default. Supernets have it, stand-alone networks
            do not.
        skip_relu: whether a skip connection of stride 2 begins with a ReLU.
    """
    family, kernel = parse(name)
    if family == "none":
        return Zero(stride)
    if family == "noise":
        return Noise(stride)
    if family == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine, skip_relu)
    if family in ("avg_pool", "max_pool"):
        pool = (
            average_pool(kernel, stride) if family == "avg_pool" else nn.MaxPool2d(kernel, stride, padding=kernel // 2)
        )
        return pool if pool_norm is None else nn.Sequential(pool, nn.BatchNorm2d(channels, affine=pool_norm))
    if family == "sep_conv":
        return SeparableConv(channels, kernel, stride, affine)
    if family == "dil_conv":
        return DilatedConv(channels, kernel, stride, affine)
    if re.fullmatch(r"conv_(\d)x1_1x\1", name):
        return FactorizedConv(channels, kernel, stride, affine)
    return ReLUConvBN(channels, channels, kernel, stride, affine)
