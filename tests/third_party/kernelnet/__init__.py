"""An example of a search space in a package of its own: four convolutions in two stages, each choosing its kernel.

The entry point in ``pyproject.toml`` is all that makes it known: ``pip install`` this folder, then ``nni-plugins list`` shows it,
experiment files may name it, and NNI's own strategies search it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from spaces import Architecture, CostTable, Decision, GraphEdge, Head, ImageSpace, Indices, SpaceError, head_modules
from spaces.base import ImageSize
from spaces.images import at_least, sides
from spaces.path_supernet import PathSupernet, fixed_parameters, parameters_of
from spaces.staged import Stage, StagedNetwork
from spaces.supernet import WeightBlock, WeightBlocks

KERNELS = ("1x1", "3x3", "5x5")


class KernelNet(ImageSpace):
    """81 networks. Args: ``channels`` of the first stage, twice as many in the second; ``classes``; ``head``; ``input_channels``."""

    name: ClassVar[str] = "kernelnet"

    def __init__(self, channels: int = 8, classes: int = 10, head: str | Mapping[str, Any] | Head = "linear", input_channels: int = 3) -> None:
        at_least(channels=(channels, 1))
        self.channels = channels
        super().__init__([Decision(f"conv_{i}", KERNELS) for i in range(4)], classes, head, input_channels)

    def config(self) -> dict[str, Any]:
        return {"channels": self.channels, **self._head_config()}

    def layers(self) -> list[tuple[int, int, int]]:
        """(input channels, output channels, stride) of each convolution."""
        c = self.channels
        return [(self.input_channels, c, 1), (c, c, 1), (c, 2 * c, 2), (2 * c, 2 * c, 1)]

    def to_string(self, architecture: Architecture) -> str:
        return "-".join(kernel for _, kernel in self.check(architecture).choices)

    def from_string(self, text: str) -> Architecture:
        kernels = text[:1000].split("-")
        if len(kernels) != 4:
            raise SpaceError(f"four kernels are needed, such as 1x1-3x3-5x5-3x3, but got {len(kernels)}.")
        return self.architecture(dict(zip(self.labels, kernels, strict=True)))

    def canonical(self, architecture: Architecture) -> str:
        return self.to_string(architecture)

    def graph(self, architecture: Architecture) -> dict[str, list[GraphEdge]]:
        nodes = ["input", "0", "1", "2", "output"]
        return {"network": [GraphEdge(nodes[i], nodes[i + 1], k) for i, (_, k) in enumerate(self.check(architecture).choices)]}

    def path_counts(self, indices: Indices) -> npt.NDArray[np.int64]:
        return np.ones(indices.shape, dtype=np.int64)

    def cost_table(self, image_size: ImageSize = 32) -> CostTable:
        height, width = sides(image_size)
        parameters = np.zeros((4, 3), dtype=np.int64)
        macs = np.zeros_like(parameters)
        for i, (inputs, outputs, stride) in enumerate(self.layers()):
            height, width = -(-height // stride), -(-width // stride)
            for v, kernel in enumerate((1, 3, 5)):
                parameters[i, v] = kernel**2 * inputs * outputs + 2 * outputs
                macs[i, v] = kernel**2 * inputs * outputs * height * width * self.head.images
        last = 2 * self.channels
        head = self.head.macs(last, self.classes, height * width)
        return CostTable(self, self.head.parameters(last, self.classes), head, parameters, macs)

    def supernet(self) -> KernelSupernet:
        return KernelSupernet(**self.config())

    def network(self, architecture: Architecture) -> KernelNetwork:
        return KernelNetwork(self, [kernel for _, kernel in self.check(architecture).choices])


def conv(kernel: str, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    k = int(kernel[0])
    return nn.Sequential(nn.Conv2d(inputs, outputs, k, stride, k // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class KernelNetwork(StagedNetwork):
    def __init__(self, space: KernelNet, kernels: Sequence[str]) -> None:
        super().__init__()
        self.input_channels = space.input_channels
        self.convs = nn.ModuleList(conv(kernel, *layer) for kernel, layer in zip(kernels, space.layers(), strict=True))
        self.all_stages = (Stage(space.channels, 1), Stage(2 * space.channels, 2))
        self.classifier = head_modules.build(space.head, 2 * space.channels, space.classes)

    def stages(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        for first, second in self.stage_modules():
            x = second(first(x))
            yield x

    def stage_modules(self) -> list[list[nn.Module]]:
        return [list(self.convs[:2]), list(self.convs[2:])]


class KernelSupernet(PathSupernet):
    def __init__(self, **space_config: Any) -> None:
        super().__init__()
        self.search_space = space = KernelNet(**space_config)
        self.convs = nn.ModuleList(nn.ModuleList(conv(kernel, *layer) for kernel in KERNELS) for layer in space.layers())
        self.classifier = head_modules.build(space.head, 2 * space.channels, space.classes)
        self.add_selectors(space)

    @classmethod
    def space_of(cls, **space_config: Any) -> KernelNet:
        return KernelNet(**space_config)

    def fresh(self) -> KernelSupernet:
        return KernelSupernet(**self.search_space.config())

    def forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8]) -> torch.Tensor:
        size = (x.shape[-2], x.shape[-1])
        for layer, choice in zip(self.convs, path[0].tolist(), strict=True):
            x = cast(nn.ModuleList, layer)[choice](x)
        return cast(torch.Tensor, self.classifier(x, size))

    def forward_mixed(self, x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        size = (x.shape[-2], x.shape[-1])
        for layer, weight in zip(self.convs, weights, strict=True):
            x = torch.stack([w * module(x) for w, module in zip(weight, cast(nn.ModuleList, layer), strict=True)]).sum(0)
        return cast(torch.Tensor, self.classifier(x, size))

    def weight_blocks(self) -> WeightBlocks:
        choices = tuple(
            tuple(WeightBlock(tuple(parameters_of(module, f"convs.{i}.{v}."))) for v, module in enumerate(cast(nn.ModuleList, layer)))
            for i, layer in enumerate(self.convs)
        )
        searched = {name for row in choices for block in row for name, _ in block.parameters}
        return WeightBlocks(WeightBlock(tuple(fixed_parameters(self, searched))), choices)
