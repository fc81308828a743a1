"""One edge's candidate operations as modules, in a plain form and with what can be shared taken out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from ..operation_costs import parse
from ..operations import DilatedConv, FactorizedReduce, Noise, ReLUConvBN, SeparableConv, candidate
from .functional import average, convolve, joint_norm, norm, relu


class MixedEdge(nn.Module):
    """The operations of one edge on ``channels`` channels. Batch norms after pools belong to the source state, which
    all its edges share.
    """

    def __init__(self, names: tuple[str, ...], channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.names, self.stride = names, stride
        self.operations = nn.ModuleDict(
            {n: candidate(n, channels, stride, affine) for n in names if n != "none" and "pool" not in n}
        )

    def plain(
        self, x: torch.Tensor, weights: torch.Tensor, pools: nn.ModuleDict, gains: nn.ModuleDict | None, seen: set[str]
    ) -> torch.Tensor:
        """Sum of ``weights[o]`` times operation o of ``x``, each operation by itself, as the reference computes it.

        ``weights``: (O,). ``seen``: pools whose running statistics have moved in this pass."""
        total: torch.Tensor | None = None
        for name, weight in zip(self.names, weights.unbind(), strict=True):
            if name == "none":
                y = x[:, :, :: self.stride, :: self.stride] * 0.0
            elif "pool" in name:
                pool, bn = cast(nn.ModuleList, pools[name])
                y = pooled(pool, bn, x, update=name not in seen)
                if gains is not None:
                    y = cast(Gain, gains[name])(y)
            else:
                y = self.operations[name](x)
            y = y * weight
            total = y if total is None else total + y
        return cast(torch.Tensor, total)

    def convolved(
        self,
        x: torch.Tensor,
        positive: torch.Tensor,
        weights: dict[str, torch.Tensor],
        frozen: bool,
        joined: Sequence[str] = (),
    ) -> torch.Tensor | None:
        """The weighted sum of all operations with weights, and of noise, but for those that are computed ``joined``
        with other edges'.

        ``positive`` is ReLU of ``x``, made once for all edges.
        """
        total: torch.Tensor | None = None
        for name, module in self.operations.items():
            if name in joined:
                continue
            y = _weighted(module, x, positive, weights[name], frozen)
            if y is not None:
                total = y if total is None else total.add_(y)
        return total


class Gain(nn.Module):
    """Scale and shift of a batch norm whose statistics are shared: (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def _weighted(
    module: nn.Module, x: torch.Tensor, positive: torch.Tensor, weight: torch.Tensor, frozen: bool
) -> torch.Tensor | None:
    """``weight * module(x)``; None for the identity, which the state adds with its pools."""
    if isinstance(module, nn.Identity):
        return None
    if isinstance(module, Noise):
        return cast(torch.Tensor, module(x)) * weight
    if isinstance(module, FactorizedReduce):
        y = torch.cat([convolve(positive, module.conv_1), convolve(module.shifted(positive), module.conv_2)], 1)
        return norm(y, module.bn, weight)
    layers = list(module)  # type: ignore[call-overload]
    if isinstance(module, SeparableConv):
        _, depthwise, pointwise, first, _, depthwise_2, pointwise_2, last = layers
        y = norm(convolve(convolve(positive, depthwise), pointwise), first)
        y = relu(y, True) if frozen else y.relu_()  # nothing else keeps the batch norm's output
        return norm(convolve(convolve(y, depthwise_2), pointwise_2), last, weight)
    if isinstance(module, DilatedConv):
        _, depthwise, pointwise, last = layers
        return norm(convolve(convolve(positive, depthwise), pointwise), last, weight)
    if isinstance(module, ReLUConvBN):
        return norm(convolve(positive, layers[1]), layers[2], weight)
    raise AssertionError(f"{type(module).__name__} has no weighted form")


def joint(
    edges: Sequence[MixedEdge], name: str, positive: torch.Tensor, weights: Sequence[torch.Tensor]
) -> torch.Tensor:
    """The dense convolution ``name`` of several edges of one state as one convolution and one batch norm: (B, F, C, H',
    W'), weighted.
    """
    modules = [cast(ReLUConvBN, edge.operations[name]) for edge in edges]
    conv = cast(nn.Conv2d, modules[0][1])
    y = convolve(positive, conv, torch.cat([cast(nn.Conv2d, m[1]).weight for m in modules]))
    y = joint_norm(y, [cast(nn.BatchNorm2d, m[2]) for m in modules], weights)
    return y.view(y.shape[0], len(edges), -1, *y.shape[2:])


def pooled(pool: nn.Module, bn: nn.Module, x: torch.Tensor, update: bool = True, fast: bool = False) -> torch.Tensor:
    """The pool and its batch norm, if it has one; ``update=False`` leaves running statistics alone."""
    y = average(x, pool) if fast and isinstance(pool, nn.AvgPool2d) else pool(x)
    return norm(y, bn, update=update) if isinstance(bn, nn.BatchNorm2d) else cast(torch.Tensor, y)


def is_pool(name: str) -> bool:
    """Whether ``name`` is a pooling operation."""
    return parse(name)[0].endswith("_pool")
