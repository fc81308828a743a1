"""Convolutions as others on a part of the pixels: equal up to rounding, and faster on a CPU.

Of a 1x1 convolution with stride 2 three pixels in four are not read: it is one with stride 1 of the others. (oneDNN 3
also writes beyond its memory for the strided form with two to seven channels that come last, seen on AVX2.) With
dilation 2 the pixels of even and of odd rows and columns never meet: such a depthwise convolution is four plain ones, on
images of half the size that are put side by side in the batch. With stride 2 only one of the four is asked for. The
gradient of a dilated depthwise weight has no fast kernel on a CPU (oneDNN 3: 44 ms where the plain one takes 3, for 64
images of 16 x 32 x 32).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.fx
import torch.nn.functional as F
from torch import nn

Convolution = Callable[[torch.Tensor, int], torch.Tensor]
"""(images, padding) -> the plain convolution of them, with stride 1 and no dilation."""


def is_channels_last(x: torch.Tensor) -> bool:
    """Whether the channels of a pixel of ``x: (B, C, H, W)`` lie side by side, and pixels do not."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


class Depthwise(NamedTuple):
    """What :func:`splits` and :func:`convolve_split` read of a depthwise convolution; a ``nn.Conv2d`` has it too."""

    in_channels: int
    groups: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]


def splits(x: torch.Tensor, conv: nn.Conv2d | Depthwise) -> bool:
    """Whether ``conv`` on ``x: (B, C, H, W)`` is one that :func:`convolve_split` can do, and does faster."""
    kernel, other = conv.kernel_size
    return (
        x.device.type == "cpu"
        and conv.groups == conv.in_channels > 1
        and conv.dilation == (2, 2)
        and kernel == other
        and conv.padding == (kernel - 1, kernel - 1)
        and kernel % 2 == 1
        and (conv.stride == (2, 2) or (conv.stride == (1, 1) and x.shape[2] % 2 == x.shape[3] % 2 == 0))
        and not torch.compiler.is_compiling()
    )


def convolve_split(x: torch.Tensor, conv: nn.Conv2d | Depthwise, plain: Convolution) -> torch.Tensor:
    """What ``conv`` makes of ``x: (B, C, H, W)``; with stride 1 height and width are even."""
    padding = conv.kernel_size[0] // 2
    if conv.stride == (2, 2):
        return plain(x[:, :, ::2, ::2], padding)
    return _joined(plain(_split(x), padding))


def _split(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W), both even -> (4 B, C, H / 2, W / 2), in the same layout."""
    b, c, h, w = x.shape
    if is_channels_last(x):
        y = x.permute(0, 2, 3, 1).reshape(b, h // 2, 2, w // 2, 2, c).permute(2, 4, 0, 1, 3, 5)
        return y.reshape(4 * b, h // 2, w // 2, c).permute(0, 3, 1, 2)
    y = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(3, 5, 0, 1, 2, 4)
    return y.reshape(4 * b, c, h // 2, w // 2)


def _joined(x: torch.Tensor) -> torch.Tensor:
    """Back from :func:`_split`."""
    b, c, h, w = x.shape
    if is_channels_last(x):
        y = x.permute(0, 2, 3, 1).reshape(2, 2, b // 4, h, w, c).permute(2, 3, 0, 4, 1, 5)
        return y.reshape(b // 4, 2 * h, 2 * w, c).permute(0, 3, 1, 2)
    y = x.reshape(2, 2, b // 4, c, h, w).permute(2, 3, 4, 0, 5, 1)
    return y.reshape(b // 4, c, 2 * h, 2 * w)


def read_pixels(x: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
    """The pixels of ``x: (B, C, H, W)`` that the 1x1 convolution ``conv`` reads, for one of stride 1 in its place."""
    down, across = conv.stride
    return x if down == across == 1 else x[:, :, ::down, ::across]


class Pointwise(nn.Conv2d):
    """A 1x1 convolution without bias."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(read_pixels(x, self), self.weight)


@torch.fx.wrap
def depthwise(
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> torch.Tensor:
    """A depthwise convolution of ``x: (B, C, H, W)`` by ``weight: (C, 1, k, k)``, in four parts where that is faster. One
    node for torch.fx, for it depends on the size; TorchScript gets the plain form.
    """
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return F.conv2d(x, weight, None, stride, padding, dilation, weight.shape[0])
    return _depthwise(x, weight, stride, padding, dilation)


def _depthwise(
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> torch.Tensor:
    groups = len(weight)
    conv = Depthwise(groups, groups, tuple(weight.shape[2:]), tuple(stride), tuple(padding), tuple(dilation))
    if not splits(x, conv):
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)

    def plain(images: torch.Tensor, padding: int) -> torch.Tensor:
        return F.conv2d(images, weight, None, 1, padding, 1, groups)

    return convolve_split(x, conv, plain)


class DilatedDepthwise(nn.Conv2d):
    """A depthwise convolution without bias, dilated by two, that keeps the size where its stride is 1."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(channels, channels, kernel, stride, kernel - 1, dilation=2, groups=channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = depthwise(x, self.weight, self.stride, self.padding, self.dilation)  # type: ignore[arg-type]
        return y
