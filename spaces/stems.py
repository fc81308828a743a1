"""Stems: how an image becomes the first feature map, described without torch. :mod:`nni_plugins.spaces.stem_modules`
builds them.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import SpaceError, closest, shown

Sides = tuple[int, int]

CONVOLUTIONS: dict[str, dict[str, tuple[tuple[float, int], ...]]] = {
    "nasbench201": {"cifar": ((1, 1),), "imagenet": ((0.5, 2), (1, 2), (1, 2))},
    "nasbench101": {"cifar": ((1, 1),), "imagenet": ((0.5, 2), (1, 2), (1, 2))},
    "cells": {"cifar": ((3, 1),), "imagenet": ((0.5, 2), (1, 2), (1, 2)), "imagenet_wide": ((1.5, 2), (3, 2), (3, 2))},
}
"""Family -> kind -> the 3x3 convolutions as (channels in multiples of the width, stride). Each has a batch norm and no
bias.

``cells``: DARTS (Liu et al., ICLR 2019), its ImageNet form, and ``imagenet_wide``, that of PC-DARTS' search on ImageNet
(official code); ``nasbench101`` on ImageNet: UnNAS (official code); ``nasbench201`` is not defined on
ImageNet by its authors and takes the same.
"""


def halved(sides: Sides, times: int = 1) -> Sides:
    """(height, width) after ``times`` reductions by two, rounded up."""
    return -(-sides[0] // 2**times), -(-sides[1] // 2**times)


@dataclass(frozen=True)
class Stem:
    """``convolutions``: (output channels, stride) of each 3x3 convolution."""

    kind: str
    convolutions: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, kind: str, family: str, width: int) -> Stem:
        """The stem ``kind`` of a family of spaces at this width.

        Raises:
            SpaceError: no such stem, or an odd width where half of it is needed.
        """
        kinds = CONVOLUTIONS[family]
        if kind not in kinds:
            raise SpaceError(f"stem: unknown stem {shown(kind)}; {closest(str(kind), kinds)}")
        if any(multiple * width % 1 for multiple, _ in kinds[kind]):
            raise SpaceError(f"the {kind} stem halves the width, so it must be even, but got {width}.")
        return cls(kind, tuple((int(multiple * width), stride) for multiple, stride in kinds[kind]))

    @property
    def stride(self) -> int:
        """Stride of the stem's output."""
        product = 1
        for _, stride in self.convolutions:
            product *= stride
        return product

    @property
    def outputs(self) -> int:
        """Channels of the stem's output."""
        return self.convolutions[-1][0]

    def reduced(self, sides: Sides, stages: int) -> list[Sides]:
        """(height, width) of the stem's output and of each further reduction by two: ``stages`` in all."""
        reductions = self.stride.bit_length() - 1
        return [halved(sides, reductions + s) for s in range(stages)]

    def parameters(self, input_channels: int) -> int:
        """Weights of convolutions and batch norms."""
        total, inputs = 0, input_channels
        for outputs, _ in self.convolutions:
            total, inputs = total + 9 * inputs * outputs + 2 * outputs, outputs
        return total

    def macs(self, input_channels: int, sides: Sides) -> int:
        """Multiply-adds on an image of ``sides``."""
        total, inputs = 0, input_channels
        for outputs, stride in self.convolutions:
            sides = halved(sides) if stride == 2 else sides
            total, inputs = total + 9 * inputs * outputs * sides[0] * sides[1], outputs
        return total
