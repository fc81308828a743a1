"""The network around the cells: stem, depth, width, reductions and head, without torch.

Liu et al., "DARTS", ICLR 2019: cells are stacked, each reads the outputs of the two before it, reduction cells stand at
one and two thirds of the depth and double the channels. NASNet, AmoebaNet, PNAS and NAO differ in the cell and in when
inputs are calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..heads import Head
from ..operation_costs import conv_bn
from ..stems import Sides, Stem, halved


@dataclass(frozen=True)
class CellShape:
    """One cell of the stack. ``multipliers`` below are the states that a cell's output joins: (normal, reduction)."""

    index: int
    reduction: bool
    after_reduction: bool
    """Whether input 0 has twice the resolution of input 1."""
    channels: int
    stage: int
    """Reductions up to and including this cell."""
    sources: tuple[int | None, int | None]
    """The cells that inputs 0 and 1 come from; None for the stem."""


@dataclass(frozen=True)
class Macro:
    """Everything but the cells.

    ``calibrate``: ``always`` passes both inputs of a cell through ReLU-convolution-batch norm or a factorized reduction
    (DARTS); ``when_needed`` leaves inputs that have the right shape as they are (NAO). ``skip_relu``: whether the
    factorized reductions of skip connections and of unread inputs begin with a ReLU (DARTS) or not (NAO's
    ``operations.py``); those that calibrate always do.
    """

    stem: Stem
    width: int
    cells: int
    reductions: int
    classes: int
    head: Head
    input_channels: int
    calibrate: str = "always"
    skip_relu: bool = True

    @property
    def imagenet(self) -> bool:
        """Whether the stem has three strides, its second and third convolution being the inputs of cell 0."""
        return len(self.stem.convolutions) > 1

    def reduction_at(self) -> list[int]:
        """Indices of the reduction cells: ``cells // 3`` and ``2 * cells // 3``, the first ``reductions`` of them."""
        return [self.cells // 3, 2 * self.cells // 3][: self.reductions]

    def shapes(self) -> list[CellShape]:
        """All cells, first to last."""
        shapes, channels, stage, after = [], self.width, 0, self.imagenet
        for i in range(self.cells):
            reduction = i in self.reduction_at()
            if reduction:
                channels, stage = 2 * channels, stage + 1
            sources = (i - 2 if i >= 2 else None, i - 1 if i >= 1 else None)
            shapes.append(CellShape(i, reduction, after, channels, stage, sources))
            after = reduction
        return shapes

    def stem_channels(self, position: int) -> int:
        """Channels of the stem's output that cell 0 reads as input ``position`` (and cell 1 as input 0, for position
        1).
        """
        return self.stem.convolutions[-2 + position][0] if self.imagenet else self.stem.outputs

    def input_sides(self, shape: CellShape, image: Sides) -> Sides:
        """(height, width) inside a cell before its own reduction."""
        before = shape.stage - (1 if shape.reduction else 0)
        return halved(image, self.stem.stride.bit_length() - 1 + before)

    def calibration(self, shape: CellShape, position: int, inputs: int) -> str | None:
        """How input ``position`` with ``inputs`` channels becomes ``shape.channels`` wide: ``reduce``, ``convolve`` or
        not at all.
        """
        if position == 0 and shape.after_reduction:
            return "reduce"
        return None if self.calibrate == "when_needed" and inputs == shape.channels else "convolve"

    def calibration_parameters(self, shape: CellShape, inputs: int) -> int:
        """Of either kind: a 1x1 convolution's weights and a batch norm."""
        return conv_bn(inputs, shape.channels)

    def output_channels(self, shape: CellShape, multipliers: tuple[int, int]) -> int:
        """Channels that leave a cell."""
        return shape.channels * multipliers[shape.reduction]

    def source_channels(
        self, shapes: list[CellShape], shape: CellShape, position: int, multipliers: tuple[int, int]
    ) -> int:
        """Channels that arrive at input ``position``."""
        source = shape.sources[position]
        if source is None:
            return self.stem_channels(1 if shape.index == 1 else position)
        return self.output_channels(shapes[source], multipliers)

    def strides(self) -> list[int]:
        """Stride of each stage of cells."""
        return [self.stem.stride * 2**s for s in range(self.reductions + 1)]
