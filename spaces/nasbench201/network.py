"""Stand-alone networks of NAS-Bench-201 cells, and the parts that they share with the supernet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from .. import head_modules, stem_modules
from ..operations import ReLUConvBN, State, candidate
from ..staged import Stage, StagedNetwork, Strided

if TYPE_CHECKING:
    from .codec import Edge
    from .space import NASBench201


class _Halving(Strided):
    """Average of 2x2 pixels. ``ceil_mode`` leaves even sizes as the benchmark has them and makes odd ones fit the
    strided convolution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool: nn.Module = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)

    def without_stride(self) -> None:
        self.pool = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.pool(x))


class ResidualReduction(nn.Module):
    """The block between stages: two 3x3 convolutions beside average pooling and a 1x1 convolution. (B, C, H, W) -> (B,
    C', ceil(H/2), ceil(W/2)).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_a = ReLUConvBN(inputs, outputs, 3, stride=2)
        self.conv_b = ReLUConvBN(outputs, outputs, 3)
        self.downsample = nn.Sequential(_Halving(), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.downsample(x) + self.conv_b(self.conv_a(x)))


def last_activation(channels: int) -> nn.Module:
    """Batch norm and ReLU before pooling."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class Cell(nn.Module):
    """One cell of a fixed architecture; node j is the sum of its in-edges."""

    def __init__(self, operations: Mapping[Edge, str], nodes: int, channels: int) -> None:
        super().__init__()
        self.nodes = nodes
        self.edges = nn.ModuleDict({f"{i}_{j}": candidate(name, channels) for (i, j), name in operations.items()})
        self.active = {(i, j) for (i, j), name in operations.items() if name != "none"}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = [State(x)]
        for j in range(1, self.nodes):
            total: torch.Tensor | None = None
            for i in range(j):
                if (i, j) in self.active:
                    y = states[i].through(self.edges[f"{i}_{j}"])
                    total = y if total is None else total + y
            states.append(State(torch.zeros_like(x) if total is None else total))
        return states[-1].x


class NASBench201Network(StagedNetwork):
    """The benchmark's network for one cell: three stages."""

    def __init__(self, space: NASBench201, operations: Mapping[Edge, str]) -> None:
        super().__init__()
        width = space.channels
        self.input_channels, self.smallest = space.input_channels, 4 * space.stem.stride
        self.cells_per_stage = space.cells_per_stage
        self.stem = stem_modules.build(space.stem, space.input_channels)
        self.cells = nn.ModuleList()
        self.all_stages = tuple(Stage(width * 2**s, space.stem.stride * 2**s) for s in range(3))
        for stage in range(3):
            if stage:
                self.cells.append(ResidualReduction(width, 2 * width))
                width *= 2
            self.cells.extend(Cell(operations, space.nodes, width) for _ in range(space.cells_per_stage))
        self.lastact = last_activation(width)
        self.classifier = head_modules.build(space.head, width, space.classes)

    def stages(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        x = self.step(self.stem, x)
        for modules in self._stage_cells():
            for cell in modules:
                x = self.step(cell, x)
            yield self.lastact(x) if modules[-1] is self.cells[-1] else x

    def _stage_cells(self) -> list[list[nn.Module]]:
        n, cells = self.cells_per_stage, list(self.cells)
        return [cells[:n], cells[n : 2 * n + 1], cells[2 * n + 1 :]]

    def stage_modules(self) -> list[list[nn.Module]]:
        first, *rest = self._stage_cells()
        return [[self.stem, *first], *rest]
