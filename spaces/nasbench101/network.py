"""Stand-alone networks of NAS-Bench-101 cells, and the parts that they share with the supernet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn
from typing_extensions import Self

from .. import head_modules, stem_modules
from ..base import Indices
from ..staged import Stage, StagedNetwork, Strided
from . import codec
from .live import Plan, plan

if TYPE_CHECKING:
    from .space import NASBench101

Step = Callable[[int, torch.Tensor], torch.Tensor]
"""What vertex v does to a feature map."""


class ConvBNReLU(nn.Sequential):
    """Convolution without bias, batch norm, ReLU; keeps the size."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class MaxPool(nn.Module):
    """Maximum of 3x3 pixels, ``dilation`` apart; keeps the size. (torch's own module pads by one pixel at most.)"""

    def __init__(self) -> None:
        super().__init__()
        self.dilation = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.dilation == 1:
            return F.max_pool2d(x, 3, 1, padding=1)
        return F.max_pool2d(F.pad(x, (self.dilation,) * 4, value=float("-inf")), 3, 1, dilation=self.dilation)


def operation(name: str, channels: int) -> nn.Module:
    """The operation ``name`` of :data:`nni_plugins.spaces.nasbench101.codec.OPERATIONS`."""
    return MaxPool() if name == "maxpool3x3" else ConvBNReLU(channels, channels, {"conv1x1": 1, "conv3x3": 3}[name])


class Halving(Strided):
    """Maximum of 2x2 pixels, a last odd row or column left out as in the benchmark: (B, C, H, W) -> (B, C, floor(H/2),
    floor(W/2)).

    Without its stride it is the same maximum at every pixel, over pixels ``dilation`` apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stride, self.dilation = 2, 1

    def without_stride(self) -> None:
        self.stride = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride == 1:
            x = F.pad(x, (0, self.dilation, 0, self.dilation), mode="replicate")
        return F.max_pool2d(x, 2, self.stride, dilation=self.dilation)


def reductions(stacks: int) -> nn.ModuleList:
    """The pooling before each stack but the first."""
    return nn.ModuleList(Halving() for _ in range(stacks - 1))


def run(cell: Plan, x: torch.Tensor, project: Step, operate: Step) -> torch.Tensor | None:
    """One cell on its input ``x``; None where no path leads to the output.

    A vertex takes the sum of the vertices that feed it, cut to its own channels, and of the projected input. The output
    is what feeds it side by side, plus the projected input.
    """
    states: dict[int, torch.Tensor] = {}
    for v in cell.vertices:
        terms = [states[u][:, : cell.channels[v]] if u else project(v, x) for u in cell.sources[v]]
        states[v] = operate(v, sum(terms[1:], terms[0]))
    last = len(cell.channels) - 1
    joined = [states[u] for u in cell.sources[last] if u]
    output = torch.cat(joined, 1) if joined else None
    if 0 in cell.sources[last]:
        projected = project(last, x)
        output = projected if output is None else output + projected
    return output


class FixedCell(nn.Module):
    """One cell of a fixed architecture: (B, inputs, H, W) -> (B, outputs, H, W). Modules are called after their
    vertices.
    """

    def __init__(self, row: tuple[int, ...], nodes: int, inputs: int, outputs: int) -> None:
        super().__init__()
        edges = len(row) - nodes
        self.plan = plan(row[:edges], nodes, outputs)
        channels = self.plan.channels
        self.operations = nn.ModuleDict(
            {str(v): operation(codec.OPERATIONS[row[edges + v - 1]], channels[v]) for v in self.plan.vertices}
        )
        projected = [v for v in range(1, nodes + 2) if 0 in self.plan.sources[v]]
        self.projections = nn.ModuleDict({str(v): ConvBNReLU(inputs, channels[v], 1) for v in projected})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def project(v: int, y: torch.Tensor) -> torch.Tensor:
            return cast(torch.Tensor, self.projections[str(v)](y))

        def operate(v: int, y: torch.Tensor) -> torch.Tensor:
            return cast(torch.Tensor, self.operations[str(v)](y))

        return cast(torch.Tensor, run(self.plan, x, project, operate))


class NASBench101Network(StagedNetwork):
    """The benchmark's network for one cell. Initial weights are torch's defaults, as in UnNAS."""

    def __init__(self, space: NASBench101, row: Indices) -> None:
        super().__init__()
        self.input_channels, self.smallest = space.input_channels, space.stem.stride * 2 ** (space.stacks - 1)
        self.cells_per_stack = space.cells_per_stack
        self.stem = stem_modules.build(space.stem, space.input_channels, last_activation=True)
        self.pools = reductions(space.stacks)
        choices = tuple(row.tolist())
        self.cells = nn.ModuleList(
            FixedCell(choices, space.nodes, inputs, outputs) for inputs, outputs in space.widths()
        )
        self.all_stages = tuple(Stage(space.channels * 2**s, space.stem.stride * 2**s) for s in range(space.stacks))
        self.classifier = head_modules.build(space.head, self.all_stages[-1].channels, space.classes)

    def stages(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        for modules in self.stage_modules():
            for module in modules:
                x = self.step(module, x)
            yield x

    def chain(self) -> list[nn.Module]:
        return [self.stem, *self.cells]

    def stage_modules(self) -> list[list[nn.Module]]:
        n = self.cells_per_stack
        first = [self.stem, *self.pools]
        return [[first[s], *self.cells[s * n : (s + 1) * n]] for s in range(len(first))]

    def dilate(self, output_stride: int) -> Self:
        """Max pooling is dilated too, so that every feature map holds, at its coarser pixels, exactly the values it had
        there before.
        """
        strides = [stage.stride for stage in self.all_stages]
        super().dilate(output_stride)
        rate, before = 1, 1
        for stride, modules in zip(strides, self.stage_modules(), strict=True):
            if stride > output_stride:
                for module in (m for root in modules for m in root.modules()):
                    if isinstance(module, Halving):
                        module.dilation *= rate
                    elif isinstance(module, MaxPool):
                        module.dilation *= rate * (2 if stride > before else 1)
                rate = stride // output_stride
            before = stride
        return self
