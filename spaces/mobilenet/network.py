"""Stand-alone networks of the MobileNet-like space, and the modules that they share with the supernet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn

from .. import head_modules
from ..head_modules import LinearHead, Size
from ..staged import Stage, StagedNetwork
from .space import IDENTITY, OPERATIONS

if TYPE_CHECKING:
    from .space import Block, MobileNetLike


def conv_bn(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """Convolution without bias, batch norm and, unless told not to, ReLU6: (B, inputs, H, W) -> (B, outputs,
    ceil(H/stride), ceil(W/stride)).
    """
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if activation else nn.Sequential(*layers)


class MBConv(nn.Module):
    """An inverted residual block (Sandler et al., "MobileNetV2", CVPR 2018): expand, filter each channel, project."""

    def __init__(self, block: Block, kernel: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * block.inputs
        self.residual = block.stride == 1 and block.inputs == block.outputs
        self.expand = conv_bn(block.inputs, hidden)
        self.depthwise = conv_bn(hidden, hidden, kernel, block.stride, groups=hidden)
        self.project = conv_bn(hidden, block.outputs, activation=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return cast(torch.Tensor, x + y if self.residual else y)


def candidate(name: str, block: Block) -> nn.Module:
    """The operation ``name`` where ``block`` stands."""
    return nn.Identity() if name == IDENTITY else MBConv(block, *OPERATIONS[name])


def stem(space: MobileNetLike) -> nn.Sequential:
    """A 3x3 convolution of stride 2 and the fixed block, which has no expansion and no residual connection."""
    inside, outside = space.stem_channels, space.first_channels
    first = (conv_bn(inside, inside, 3, groups=inside), conv_bn(inside, outside, activation=False))
    return nn.Sequential(conv_bn(space.input_channels, inside, 3, stride=2), *first)


def initialise(modules: Iterable[nn.Module]) -> None:
    """Convolutions from N(0, 2 / (k^2 c_out)), as RLNAS' supernet; batch norms begin with 1 and 0, as PyTorch's do.

    c_out is not divided by the groups, so that a depthwise convolution begins with a squared norm of about 2 in all.
    """
    for root in modules:
        for module in root.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")


class DroppedLinearHead(LinearHead):
    """Global average pooling, dropout and a linear layer; names of weights as without dropout."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__(channels, classes)
        self.dropout = dropout

    def forward(self, x: torch.Tensor, size: Size | None = None) -> torch.Tensor:
        # Means of single pixels are themselves, so the head without dropout pools what is already pooled.
        return super().forward(F.dropout(x.mean((2, 3), keepdim=True), self.dropout, self.training))


class MobileNetLikeNetwork(StagedNetwork):
    """The network of one architecture. A stage ends before each reduction: five of them, strides 2 to 32, at the
    default settings.

    The last stage includes the last 1x1 convolution, whose output the head takes.
    """

    def __init__(self, space: MobileNetLike, operations: Sequence[str]) -> None:
        super().__init__()
        self.input_channels = space.input_channels
        self.stem = stem(space)
        self.blocks = nn.ModuleList(
            candidate(name, block) for name, block in zip(operations, space.blocks, strict=True)
        )
        self.last = conv_bn(space.blocks[-1].outputs, space.last_channels)
        initialise((self.stem, self.blocks, self.last))
        if space.dropout and space.head.kind == "linear":
            self.classifier: nn.Module = DroppedLinearHead(space.last_channels, space.classes, space.dropout)
        else:
            self.classifier = head_modules.build(space.head, space.last_channels, space.classes)
        self.starts = (0, *(i for i, block in enumerate(space.blocks) if block.stride == 2))
        widths = [space.blocks[i].inputs for i in self.starts[1:]] + [space.last_channels]
        self.all_stages = tuple(Stage(width, 2 ** (s + 1)) for s, width in enumerate(widths))
        self.smallest = self.all_stages[-1].stride

    def stages(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        for modules in self.stage_modules():
            for module in modules:
                x = self.step(module, x)
            yield x

    def stage_modules(self) -> list[list[nn.Module]]:
        blocks = list(self.blocks)
        groups = [blocks[start:end] for start, end in zip(self.starts, (*self.starts[1:], len(blocks)), strict=True)]
        groups[0].insert(0, self.stem)
        groups[-1].append(self.last)
        return groups
