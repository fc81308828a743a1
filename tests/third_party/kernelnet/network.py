"""The networks of KernelNet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nni_plugins.spaces import head_modules
from nni_plugins.spaces.path_supernet import PathSupernet, fixed_parameters, parameters_of
from nni_plugins.spaces.staged import Stage, StagedNetwork
from nni_plugins.spaces.supernet import WeightBlock, WeightBlocks

from . import KERNELS, KernelNet


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
        self.convs = nn.ModuleList(
            nn.ModuleList(conv(kernel, *layer) for kernel in KERNELS) for layer in space.layers()
        )
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
            x = torch.stack([w * module(x) for w, module in zip(weight, cast(nn.ModuleList, layer), strict=True)]).sum(
                0
            )
        return cast(torch.Tensor, self.classifier(x, size))

    def weight_blocks(self) -> WeightBlocks:
        choices = tuple(
            tuple(
                WeightBlock(tuple(parameters_of(module, f"convs.{i}.{v}.")))
                for v, module in enumerate(cast(nn.ModuleList, layer))
            )
            for i, layer in enumerate(self.convs)
        )
        searched = {name for row in choices for block in row for name, _ in block.parameters}
        return WeightBlocks(WeightBlock(tuple(fixed_parameters(self, searched))), choices)
