"""Primitives of mixed supernets: convolutions that are not trained and keep no input, ReLU that keeps one bit a number,
weighted norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from ..convolutions import convolve_split, is_channels_last, read_pixels, splits

Ints = tuple[int, int]


class _FrozenConv(torch.autograd.Function):
    """A convolution whose weight needs no gradient. Stock PyTorch keeps its input for backward all the same (issue
    133566).
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.options = x.shape, (stride, padding, dilation, groups)
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None, None]:
        (weight,), (stride, padding, dilation, groups) = ctx.saved_tensors, ctx.options
        # only its shape and layout matter where no weight gradient is asked for
        absent = gradients[0].new_empty(()).expand(ctx.shape)
        if is_channels_last(gradients[0]):
            absent = torch.empty(ctx.shape, dtype=absent.dtype, device=absent.device, memory_format=torch.channels_last)
        dx, _, _ = torch.ops.aten.convolution_backward(
            gradients[0],
            absent,
            weight.to(gradients[0].dtype),
            None,
            stride,
            padding,
            dilation,
            False,
            (0, 0),
            groups,
            (True, False, False),
        )
        return dx, None, None, None, None, None


class _MaskedReLU(torch.autograd.Function):
    """ReLU that keeps a boolean mask instead of its output, for where nothing else keeps that output."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        mask = x > 0
        ctx.save_for_backward(mask)
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, gradients[0] * ctx.saved_tensors[0])


def relu(x: torch.Tensor, frozen: bool) -> torch.Tensor:
    """ReLU in front of convolutions that are ``frozen`` or not: a trained convolution keeps the output anyway."""
    if frozen and torch.is_grad_enabled() and x.requires_grad:
        return cast(torch.Tensor, _MaskedReLU.apply(x))  # type: ignore[no-untyped-call]
    return F.relu(x)


def convolve(
    x: torch.Tensor, conv: nn.Conv2d, weight: torch.Tensor | None = None, groups: int | None = None
) -> torch.Tensor:
    """``conv`` on ``x``, or a convolution of its geometry with another ``weight``; keeps no input where the weight is
    frozen.
    """
    w = conv.weight if weight is None else weight
    g = conv.groups if groups is None else groups
    stride, padding, dilation = cast(Ints, conv.stride), cast(Ints, conv.padding), cast(Ints, conv.dilation)
    if splits(x, conv):
        return convolve_split(x, conv, lambda images, width: _convolve(images, w, (1, 1), (width, width), (1, 1), g))
    if conv.kernel_size == (1, 1) and padding == (0, 0):
        x, stride = read_pixels(x, conv), (1, 1)
    return _convolve(x, w, stride, padding, dilation, g)


def _convolve(x: torch.Tensor, w: torch.Tensor, stride: Ints, padding: Ints, dilation: Ints, g: int) -> torch.Tensor:
    if (
        w.requires_grad
        or not torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or torch.is_autocast_enabled(x.device.type)
    ):
        return F.conv2d(x, w, None, stride, padding, dilation, g)
    return cast(torch.Tensor, _FrozenConv.apply(x, w, stride, padding, dilation, g))  # type: ignore[no-untyped-call]


def norm(x: torch.Tensor, bn: nn.BatchNorm2d, scale: torch.Tensor | None = None, update: bool = True) -> torch.Tensor:
    """``scale * bn(x)`` in one call: a batch norm's gain takes the factor up, and its gradient falls out of the sums
    that backward makes anyway.

    ``scale``: a 0-d tensor, the operation's weight in its mixture. ``update=False`` leaves running statistics alone.
    """
    weight: torch.Tensor | None = bn.weight
    bias: torch.Tensor | None = bn.bias
    if scale is not None:
        dtype = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
        if weight is None or bias is None:
            weight = scale.to(dtype).expand(bn.num_features).contiguous()
        else:
            weight, bias = weight * scale, bias * scale
    use_batch = bn.training or bn.running_mean is None
    mean, var = (bn.running_mean, bn.running_var) if update or not bn.training else (None, None)
    return F.batch_norm(x, mean, var, weight, bias, use_batch, bn.momentum or 0.1, bn.eps)


@lru_cache(maxsize=64)
def _windows(length: int, kernel: int, stride: int, dtype: torch.dtype) -> torch.Tensor:
    """(length', length): the mean over each window of ``kernel`` pixels of a line, of those that lie inside it."""
    line = torch.arange(length)
    inside = (line[None] - torch.arange(0, length, stride)[:, None]).abs() <= kernel // 2
    means: torch.Tensor = inside.to(dtype) / inside.sum(1, keepdim=True)
    return means


def average(x: torch.Tensor, pool: nn.AvgPool2d) -> torch.Tensor:
    """``pool``, which ignores its padding. On a CPU as two products with banded matrices, for the mean over a window is
    one over its rows of one over its columns: two to three times faster there, unless channels come last; equal up to
    rounding.
    """
    kernel, stride = int(cast(int, pool.kernel_size)), int(cast(int, pool.stride))
    if (
        x.device.type != "cpu"
        or is_channels_last(x)
        or torch.compiler.is_compiling()
        or x.dtype not in (torch.float32, torch.float64)
        or torch.is_autocast_enabled("cpu")
    ):
        return cast(torch.Tensor, pool(x))
    with torch.inference_mode(False), torch.no_grad():
        rows, columns = (_windows(n, kernel, stride, x.dtype) for n in x.shape[2:])
    return torch.matmul(rows, torch.matmul(x, columns.t()))


def joint_norm(x: torch.Tensor, norms: Sequence[nn.BatchNorm2d], scales: Sequence[torch.Tensor]) -> torch.Tensor:
    """:func:`norm` of several batch norms side by side in one call: ``x: (B, F C, H, W)`` for F norms of C channels
    each.
    """
    first, dtype = norms[0], torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    if first.weight is None:
        weight = torch.cat([scale.to(dtype).expand(bn.num_features) for scale, bn in zip(scales, norms, strict=True)])
        bias = None
    else:
        weight = torch.cat([bn.weight * scale for scale, bn in zip(scales, norms, strict=True)])
        bias = torch.cat([bn.bias * scale for scale, bn in zip(scales, norms, strict=True)])
    if first.running_mean is None:
        return F.batch_norm(x, None, None, weight, bias, True, first.momentum or 0.1, first.eps)
    means, variances = (torch.cat([getattr(bn, name) for bn in norms]) for name in ("running_mean", "running_var"))
    y = F.batch_norm(x, means, variances, weight, bias, first.training, first.momentum or 0.1, first.eps)
    if first.training:
        with torch.no_grad():
            for bn, mean, variance in zip(norms, means.chunk(len(norms)), variances.chunk(len(norms)), strict=True):
                cast(torch.Tensor, bn.running_mean).copy_(mean)
                cast(torch.Tensor, bn.running_var).copy_(variance)
    return y


def combined(table: torch.Tensor, parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """(B, E, C, H, W): E linear combinations, ``table: (E, P)``, of P tensors (B, C, H, W), in the layout of the first."""
    last = is_channels_last(parts[0])
    stacked = torch.stack([part.permute(0, 2, 3, 1) for part in parts] if last else list(parts), 1)
    mixed = torch.bmm(table.expand(len(stacked), -1, -1), stacked.flatten(2))
    mixed = mixed.view(len(stacked), len(table), *stacked.shape[2:])
    return mixed.permute(0, 1, 4, 2, 3) if last else mixed


def shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """Channel shuffle, output channel c g + i = input channel i (C / g) + c: (B, C, H, W) -> the same shape (PC-DARTS)."""
    b, c, h, w = x.shape
    return x.view(b, groups, c // groups, h, w).transpose(1, 2).reshape(b, c, h, w)
