"""Stand-alone networks of cells, and the parts that they share with supernets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.fx
import torch.nn.functional as F
from torch import nn

from .. import head_modules, stem_modules
from ..operations import FactorizedReduce, ReLUConvBN, State, candidate
from ..prefixes import Piece
from ..staged import Stage, StagedNetwork, check_images
from ..stems import Stem
from .genotype import CellGenotype, Genotype
from .macro import CellShape, Macro


def drop_path(x: torch.Tensor, probability: float | torch.Tensor) -> torch.Tensor:
    """Zero whole samples of ``x: (B, C, H, W)`` with ``probability`` and scale the others up (FractalNet; per sample,
    as in DARTS).
    """
    keep = torch.rand_like(x[:, :1, :1, :1], memory_format=torch.contiguous_format) >= probability
    return x * (keep.to(x.dtype) / (1 - probability))


def calibration(macro: Macro, shape: CellShape, position: int, inputs: int, affine: bool = True) -> nn.Module:
    """The module that brings input ``position`` to the cell's width and resolution."""
    kind = macro.calibration(shape, position, inputs)
    if kind == "reduce":
        return FactorizedReduce(inputs, shape.channels, affine)
    return nn.Identity() if kind is None else ReLUConvBN(inputs, shape.channels, 1, affine=affine)


class CellStem(nn.Module):
    """The stem as the two first cell inputs: (B, C, H, W) -> states 0 and 1, equal for a CIFAR stem, strides 4 and 8
    for ImageNet.
    """

    def __init__(self, stem: Stem, input_channels: int) -> None:
        super().__init__()
        if len(stem.convolutions) == 1:
            self.first, self.second = stem_modules.build(stem, input_channels), None
        else:
            head, last = Stem(stem.kind, stem.convolutions[:-1]), stem.convolutions[-1]
            self.first = stem_modules.build(head, input_channels)
            self.second = ReLUConvBN(head.outputs, last[0], 3, stride=last[1])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = self.first(x)
        return first, first if self.second is None else self.second(first)


def chain_of_cells(supernet: Any, given: Sequence[tuple[Any, ...]], size: tuple[int, int]) -> list[Piece]:
    """A supernet of cells from images of ``size`` (H, W) to what the head says: ``given[k]``, the key of cell k, is
    what its ``run`` takes beside the two states before it.
    """

    def enter(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if x.ndim == 5:  # the tiles of a jigsaw
            x = x.flatten(0, 1)
        check_images(x, supernet.search_space.input_channels, supernet.search_space.macro.strides()[-1])
        return cast(tuple[torch.Tensor, torch.Tensor], supernet.stem(x))

    def step(k: int, states: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return states[1], supernet.cells[k].run(*states, *given[k])

    cells = [Piece(key, partial(step, k)) for k, key in enumerate(given)]
    return [Piece(None, enter), *cells, Piece(None, lambda states: supernet.classifier(states[1], size))]


class Cell(nn.Module):
    """A fixed cell: every node adds the results of its pairs, the output joins the states of ``genotype.concat``."""

    drop_probability: torch.Tensor
    """0-dimensional: of dropping an edge's output in training. A buffer, for torch.compile takes a number to be
    constant and compiles again when it changes; it is no part of the state dictionary."""
    drops: bool = False

    def __init__(self, genotype: CellGenotype, macro: Macro, shape: CellShape, inputs: tuple[int, int]) -> None:
        super().__init__()
        self.genotype = genotype
        self.calibrations = nn.ModuleList(calibration(macro, shape, position, inputs[position]) for position in (0, 1))
        self.operations = nn.ModuleList(
            candidate(name, shape.channels, 2 if shape.reduction and state < 2 else 1, skip_relu=macro.skip_relu)
            for name, state in genotype.edges()
        )
        unread = [state for state in genotype.concat if state < 2] if shape.reduction else []
        self.joined = nn.ModuleDict(
            {str(s): FactorizedReduce(shape.channels, shape.channels, relu=macro.skip_relu) for s in unread}
        )
        self.register_buffer("drop_probability", torch.zeros(()), persistent=False)

    def forward(self, s0: torch.Tensor, s1: torch.Tensor) -> torch.Tensor:
        states = [State(calibrate(s)) for calibrate, s in zip(self.calibrations, (s0, s1), strict=True)]
        operations = iter(self.operations)
        for node in self.genotype.nodes:
            total: torch.Tensor | None = None
            for _, state in node:
                operation = next(operations)
                y = states[state].through(operation)
                if self.training and self.drops and not isinstance(operation, nn.Identity):
                    y = drop_path(y, self.drop_probability)
                total = y if total is None else total + y
            states.append(State(cast(torch.Tensor, total)))
        joined = [
            states[s].through(self.joined[str(s)]) if str(s) in self.joined else states[s].x
            for s in self.genotype.concat
        ]
        return torch.cat(joined, 1) if len(joined) > 1 else joined[0]


@torch.fx.wrap
def auxiliary_pool(x: torch.Tensor, stride: int) -> torch.Tensor:
    """The pooling of :class:`AuxiliaryHead`, which torch.fx takes as one node: it depends on the size."""
    expected = 7 if stride == 2 else 8
    if x.shape[2] == expected and x.shape[3] == expected:
        return F.avg_pool2d(x, 5, stride, count_include_pad=False)
    return F.adaptive_avg_pool2d(x, [2, 2])  # type: ignore[arg-type]  # TorchScript asks for lists


class AuxiliaryHead(nn.Module):
    """The classifier of DARTS that helps training, after the cell at two thirds of the depth: (B, C, h, w) -> (B,
    classes).

    Pooling takes 8x8 (CIFAR, stride 3) or 7x7 pixels (ImageNet, stride 2) to 2x2; other sizes are pooled to 2x2
    adaptively. On ImageNet the second batch norm is missing, as in the official network.
    """

    def __init__(self, channels: int, classes: int, imagenet: bool) -> None:
        super().__init__()
        self.stride = 2 if imagenet else 3
        self.reduce = nn.Sequential(nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU())
        norm = [] if imagenet else [nn.BatchNorm2d(768)]
        self.features = nn.Sequential(nn.Conv2d(128, 768, 2, bias=False), *norm, nn.ReLU())
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = auxiliary_pool(F.relu(x), self.stride)
        return cast(torch.Tensor, self.classifier(self.features(self.reduce(pooled)).flatten(1)))


class CellNetwork(StagedNetwork):
    """The network of one genotype.

    Stages: with a CIFAR stem the cells before, between and after the reductions; with an ImageNet stem also the stem's
    second convolution, stride 4, before them. With ``auxiliary`` a training-mode forward returns (output, auxiliary
    logits).
    """

    def __init__(self, macro: Macro, genotype: Genotype, auxiliary: bool = False, drop_path: float = 0.0) -> None:
        super().__init__()
        self.genotype = genotype
        self.input_channels, self.smallest = macro.input_channels, macro.strides()[-1]
        self.stem = CellStem(macro.stem, macro.input_channels)
        multipliers = (len(genotype.normal.concat), len(genotype.reduce.concat))
        self.shapes = macro.shapes()
        self.cells = nn.ModuleList()
        for shape in self.shapes:
            inputs = [macro.source_channels(self.shapes, shape, position, multipliers) for position in (0, 1)]
            cell = genotype.reduce if shape.reduction else genotype.normal
            self.cells.append(Cell(cell, macro, shape, (inputs[0], inputs[1])))
        outputs = [macro.output_channels(shape, multipliers) for shape in self.shapes]
        last = {shape.stage: outputs[shape.index] for shape in self.shapes}
        cells = tuple(Stage(last[s], stride) for s, stride in enumerate(macro.strides()))
        self.all_stages = (Stage(macro.stem_channels(0), macro.stem.stride // 2), *cells) if macro.imagenet else cells
        self.auxiliary = None
        if auxiliary:
            self.auxiliary_after = 2 * macro.cells // 3
            self.auxiliary = AuxiliaryHead(outputs[self.auxiliary_after], macro.classes, macro.imagenet)
        self.classifier = head_modules.build(macro.head, outputs[-1], macro.classes)
        self.set_drop_path(drop_path)

    def set_drop_path(
        self, probability: float, shares: Sequence[float] | None = None, active: bool | None = None
    ) -> None:
        """Change the probability of dropping an edge's output in training; recipes raise it with the epochs.

        Args:
            probability: 0 <= probability < 1.
            shares: factors of it, one for each cell; all 1 by default.
            active: whether anything is drawn; by default where ``probability`` is above 0. A compiled network is
                compiled again only when this changes, so a ramp that begins at 0 says ``True`` from the beginning.
        """
        for cell, share in zip(self.cells, [1.0] * len(self.cells) if shares is None else shares, strict=True):
            cast(Cell, cell).drop_probability.fill_(probability * share)
            cast(Cell, cell).drops = probability > 0 if active is None else active

    def stages(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        s0, s1 = self.step(self.stem, x)
        if self.stem.second is not None:
            yield s0
        for shape, cell in zip(self.shapes, self.cells, strict=True):
            s0, s1 = s1, self.step(cell, s0, s1)
            if self.auxiliary is not None and self.training and shape.index == self.auxiliary_after:
                self._auxiliary_logits = self.auxiliary(s1)
            if shape is self.shapes[-1] or self.shapes[shape.index + 1].stage > shape.stage:
                yield s1

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor] | tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        output = super().forward(x)
        if self.auxiliary is None or not self.training or self.out_indices is not None:
            return output
        logits, self._auxiliary_logits = self._auxiliary_logits, None
        return cast(torch.Tensor, output), cast(torch.Tensor, logits)

    _auxiliary_logits: torch.Tensor | None = None

    def chain(self) -> list[nn.Module]:
        return [self.stem, *self.cells]

    def stage_modules(self) -> list[list[nn.Module]]:
        count = self.shapes[-1].stage + 1
        stages: list[list[nn.Module]] = [[] for _ in range(count)]
        for shape, module in zip(self.shapes, self.cells, strict=True):
            cell = cast(
                Cell, module
            )  # calibrating input 0 makes up for the reduction of the cell before, not for this one's
            stages[shape.stage - shape.reduction].append(cell.calibrations)
            stages[shape.stage] += [cell.operations, cell.joined]
        if self.stem.second is None:
            stages[0].insert(0, self.stem)
            return stages
        stages[0].insert(0, self.stem.second)
        return [[self.stem.first], *stages]
