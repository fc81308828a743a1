"""Stand-alone networks of NAS-Bench-201 cells, and the parts that they share with the supernet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from ..errors import SpaceError
from ..operations import ReLUConvBN, candidate

if TYPE_CHECKING:
    from .codec import Edge
    from .space import NASBench201


class ResidualReduction(nn.Module):
    """The block between stages: two 3x3 convolutions beside average pooling and a 1x1 convolution. (B, C, H, W) -> (B, C', ceil(H/2), ceil(W/2))."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_a = ReLUConvBN(inputs, outputs, 3, stride=2)
        self.conv_b = ReLUConvBN(outputs, outputs, 3)
        # ceil_mode leaves even sizes as the benchmark has them and makes odd ones fit the strided convolution.
        pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
        self.downsample = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.downsample(x) + self.conv_b(self.conv_a(x)))


def stem(channels: int) -> nn.Module:
    """3x3 convolution and batch norm: (B, 3, H, W) -> (B, channels, H, W)."""
    return nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


def last_activation(channels: int) -> nn.Module:
    """Batch norm and ReLU before pooling."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())


def check_image(x: torch.Tensor) -> None:
    """Refuse what the first convolution or the two reductions cannot take, in words."""
    if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < 4:
        raise SpaceError(f"images of shape (B, 3, H, W) with H, W >= 4 are needed, but got {tuple(x.shape)}.")


class Cell(nn.Module):
    """One cell of a fixed architecture; node j is the sum of its in-edges."""

    def __init__(self, operations: Mapping[Edge, str], nodes: int, channels: int) -> None:
        super().__init__()
        self.nodes = nodes
        self.edges = nn.ModuleDict({f"{i}_{j}": candidate(name, channels) for (i, j), name in operations.items()})
        self.active = {(i, j) for (i, j), name in operations.items() if name != "none"}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = [x]
        for j in range(1, self.nodes):
            incoming = [self.edges[f"{i}_{j}"](states[i]) for i in range(j) if (i, j) in self.active]
            states.append(torch.stack(incoming).sum(0) if len(incoming) > 1 else incoming[0] if incoming else torch.zeros_like(x))
        return states[-1]


class NASBench201Network(nn.Module):
    """The benchmark's network for one cell. Input (B, 3, H, W), output logits (B, classes)."""

    def __init__(self, space: NASBench201, operations: Mapping[Edge, str]) -> None:
        super().__init__()
        width = space.channels
        self.stem = stem(width)
        self.cells = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.cells.append(ResidualReduction(width, 2 * width))
                width *= 2
            self.cells.extend(Cell(operations, space.nodes, width) for _ in range(space.cells_per_stage))
        self.lastact = last_activation(width)
        self.classifier = nn.Linear(width, space.classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_image(x)
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x)
        return cast(torch.Tensor, self.classifier(self.lastact(x).mean((2, 3))))
